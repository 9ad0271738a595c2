"""A shop's way on the real service: enrol once, preview by token, and make the final of the picture that was chosen."""

import base64
import io
from itertools import permutations

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage.metrics import structural_similarity

from tests.e2e.test_first_portrait import as_jpeg

JPEG = {"Content-Type": "image/jpeg"}


def pixels_of(answer, index=0):
    assert answer.status_code == 200, answer.text
    data = base64.b64decode(answer.json()["images"][index]["b64"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def grey(picture):
    small = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(float)


def apart(pictures):
    """What sets each of them apart from their mean, as directions of length one, [n, pixels]."""
    flat = np.stack([grey(picture).ravel() for picture in pictures])
    own = flat - flat.mean(axis=0)
    return own / np.linalg.norm(own, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def selfie():
    return as_jpeg(Image.fromarray(skimage.data.astronaut()))


@pytest.fixture(scope="module", params=["photomaker-v2", "photomaker", "instantid"])
def enrolled(request, service, selfie):
    return service.post("/v1/identities", params={"adapter": request.param}, content=selfie, headers=JPEG).json()


def test_a_token_draws_what_its_selfie_draws_to_the_bit_and_without_looking_for_a_face(service, selfie, enrolled):
    fields = {"style": "corporate", "subject": "woman", "seed": 7, "format": "png"}
    by_selfie = service.post(
        "/v1/portraits", params=fields | {"adapter": enrolled["adapter"]}, content=selfie, headers=JPEG
    )
    by_token = service.post("/v1/portraits", json=fields | {"identity": enrolled["identity"]})
    assert np.array_equal(pixels_of(by_selfie), pixels_of(by_token))
    assert by_token.json()["timings_ms"]["face"] == 0
    assert by_token.json()["timings_ms"]["decode_upload"] < by_selfie.json()["timings_ms"]["decode_upload"]


def test_a_final_is_the_preview_that_was_chosen_and_no_other(service, enrolled):
    """Of three previews all finals: what sets them apart is what sets apart the previews that they are of."""
    fields = {"identity": enrolled["identity"], "n": 3, "format": "png"}
    previews = service.post("/v1/portraits", json=fields)
    images = previews.json()["images"]
    finals = [service.post("/v1/finals", json={"proof": image["proof"], "format": "png"}) for image in images]
    drawn, refined = [pixels_of(previews, index) for index in range(3)], [pixels_of(final) for final in finals]
    for preview, picture, final, image in zip(drawn, refined, finals, images, strict=True):
        assert picture.shape == (512, 512, 3)
        assert structural_similarity(grey(picture), grey(preview), data_range=255) > 0.9
        assert final.json()["images"][0]["seed"] == image["seed"]
        assert final.json()["images"][0]["proof"] is None
    alike = apart(refined) @ apart(drawn).T
    matched = max(permutations(range(3)), key=lambda order: alike[range(3), order].sum())
    assert matched == (0, 1, 2), alike


def test_a_token_is_no_use_once_a_letter_is_changed(service, enrolled):
    token = enrolled["identity"]
    broken = token[:-20] + ("A" if token[-20] != "A" else "B") + token[-19:]
    answer = service.post("/v1/portraits", json={"identity": broken})
    assert (answer.status_code, answer.json()["code"]) == (400, "token_tampered")
