"""A seed and a size have the same limits on every surface: what one answers with, the others take."""

import pytest

from models.wire.groups import SIZE
from scripts.fronts.fake_worker import BUNDLE
from service.api.forms.final import FinalForm
from service.api.forms.portrait import MAX_SEED, PortraitForm
from service.api.openai.fields import read_images_request
from service.api.replicate.catalogue import INSTANT_ID, OWN, PHOTOMAKER, PHOTOMAKER_STYLE
from service.errors import ServiceError

PICTURE = "data:image/png;base64,iVBORw0KGgo="
SEEDED = {
    "portraits": lambda seed: PortraitForm.read({"seed": seed}, from_text=False),
    "portraits, from text": lambda seed: PortraitForm.read({"seed": str(seed)}, from_text=True),
    "openai": lambda seed: read_images_request({"prompt": "a man", "seed": seed}, from_text=False).form(BUNDLE),
    "photomaker": lambda seed: PHOTOMAKER.read({"input_image": PICTURE, "seed": seed}, BUNDLE).form,
    "photomaker-style": lambda seed: PHOTOMAKER_STYLE.read({"input_image": PICTURE, "seed": seed}, BUNDLE).form,
    "instant-id": lambda seed: INSTANT_ID.read({"image": PICTURE, "seed": seed}, BUNDLE).form,
    "own": lambda seed: OWN.read({"image": PICTURE, "seed": seed}, BUNDLE).form,
}
SIZED = {
    "portraits": lambda size: PortraitForm.read({"size": size}, from_text=True),
    "finals": lambda size: FinalForm.read({"size": size, "proof": "proof.x"}, from_text=True),
    "openai": lambda size: read_images_request({"prompt": "a man", "size": size}, from_text=False),
    "own": lambda size: OWN.read({"image": PICTURE, "size": size}, BUNDLE),
}


@pytest.mark.parametrize("seed", [0, 2**31, MAX_SEED])
@pytest.mark.parametrize("surface", SEEDED)
def test_every_surface_takes_every_seed(surface, seed):
    assert SEEDED[surface](seed).seed == seed


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
@pytest.mark.parametrize("surface", SEEDED)
def test_no_surface_takes_another(surface, seed):
    with pytest.raises(ServiceError, match="invalid_field") as refusal:
        SEEDED[surface](seed)
    assert refusal.value.extra == {"field": "seed"}
    assert refusal.value.message.endswith(f"it must be a whole number from 0 to {MAX_SEED}.")


@pytest.mark.parametrize("size", ["10x10", "1024x768", "99999x99999"])
@pytest.mark.parametrize("surface", SIZED)
def test_every_surface_reads_every_size(surface, size):
    SIZED[surface](size)


@pytest.mark.parametrize("size", ["9x10", "100000x10", "1024", "01024x768", "1024X768", "1024x768\n"])
@pytest.mark.parametrize("surface", SIZED)
def test_no_surface_reads_another(surface, size):
    with pytest.raises(ServiceError, match="invalid_field") as refusal:
        SIZED[surface](size)
    assert refusal.value.extra == {"field": "size"}


def test_published_schemas_say_the_same_of_seeds():
    models = (PHOTOMAKER, PHOTOMAKER_STYLE, INSTANT_ID, OWN)
    seeds = [model.input_schema["properties"]["seed"]["anyOf"][0] for model in models]
    assert {(seed["minimum"], seed["maximum"]) for seed in seeds} == {(0, MAX_SEED)}
    assert OWN.input_schema["properties"]["size"]["anyOf"][0]["pattern"] == f"^{SIZE}$"
