"""The main job on real photographs: the whole path, from HEIC bytes to a decoded portrait."""

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
import skimage.data
from PIL import Image

ORIENTATION = 0x0112


@pytest.fixture(scope="session")
def photo():
    return Image.fromarray(skimage.data.astronaut())


def as_jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def as_heic(image):
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=90)
    return out.getvalue()


def post(service, data, media_type="image/jpeg", accept="application/json", **fields):
    return service.post(
        "/v1/portraits", params=fields, content=data, headers={"Content-Type": media_type, "Accept": accept}
    )


def portraits_of(answer):
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(image["b64"]))) for image in answer.json()["images"]]


def test_a_selfie_becomes_the_portraits_that_were_asked_for(service, photo):
    answer = post(service, as_jpeg(photo), style="corporate", subject="woman", n=2, seed=7)
    first, second = portraits_of(answer)
    body = answer.json()
    assert (first.format, first.size) == ("JPEG", (256, 256))
    assert [image["seed"] for image in body["images"]] == [7, 8]
    assert body["faces"][0]["verdict"] == "ok"
    assert np.asarray(first).std() > 20  # a picture, neither flat nor black
    assert difference(first, second) > 1  # another seed, another picture
    assert set(body["timings_ms"]) >= {"face", "identity", "text", "queue", "steps", "decode", "encode", "total"}
    assert "x-request-id" in answer.headers
    assert "steps;dur=" in answer.headers["server-timing"]


def test_a_real_heic_is_read(service, photo):
    data = as_heic(photo)
    assert data[4:8] == b"ftyp"
    answer = post(service, data, "image/heic", style="outdoor", subject="woman")
    assert len(portraits_of(answer)) == 1
    assert answer.json()["faces"][0]["faces_found"] == 1


def test_a_rotated_jpeg_is_turned_upright_before_anyone_looks_for_a_face(service, photo):
    """The same photo, stored on its side with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    rotated = as_jpeg(photo.rotate(90, expand=True), exif=exif)
    upright = post(service, as_jpeg(photo), seed=3, subject="woman").json()["faces"][0]
    turned = post(service, rotated, seed=3, subject="woman").json()["faces"][0]
    assert turned["verdict"] == "ok"
    assert np.allclose(turned["box"], upright["box"], atol=12)


def test_a_photo_of_two_people_is_taken_with_a_note_or_refused_as_asked(service, photo):
    pixels = np.asarray(photo)
    pair = as_jpeg(Image.fromarray(np.hstack([pixels, pixels[:, ::-1]])))
    taken = post(service, pair, subject="woman")
    assert len(portraits_of(taken)) == 1
    report = taken.json()["faces"][0]
    assert report["faces_found"] == 2
    assert report["notes"]
    refused = post(service, pair, several_faces="refuse")
    assert refused.status_code == 422
    problem = refused.json()
    assert (refused.headers["content-type"], problem["code"]) == ("application/problem+json", "several_faces")
    assert problem["value"] == 2


def test_several_selfies_of_one_person_make_one_identity(service, photo):
    files = [("image[]", (None, as_jpeg(photo))), ("image[]", (None, as_jpeg(photo.rotate(8))))]
    files = [(name, ("selfie.jpg", data, "image/jpeg")) for name, (_, data) in files]
    answer = service.post("/v1/portraits", files=files, data={"style": "formal", "subject": "woman"})
    assert len(portraits_of(answer)) == 1
    assert [face["verdict"] for face in answer.json()["faces"]] == ["ok", "ok"]


def test_the_same_seed_gives_the_same_picture_alone_and_among_seven_others(service, photo):
    data = as_jpeg(photo)
    [alone] = portraits_of(post(service, data, seed=11, subject="woman", format="png"))
    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(post, service, data, seed=50 + i, steps=2 + i, style="comic") for i in range(7)]
        [among] = portraits_of(post(service, data, seed=11, subject="woman", format="png"))
        assert all(other.result().status_code == 200 for other in others)
    assert np.abs(np.asarray(alone, dtype=int) - np.asarray(among)).max() <= 1


def test_one_picture_can_come_as_itself(service, photo):
    answer = post(service, as_jpeg(photo), accept="image/*", format="webp", seed=5, subject="woman")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-seed"] == "5"
    assert Image.open(io.BytesIO(answer.content)).size == (256, 256)


def test_a_stream_tells_every_step_with_a_preview_and_ends_with_done(service, photo):
    answer = post(service, as_jpeg(photo), accept="text/event-stream", previews="true", steps=4, subject="woman")
    events = [block for block in answer.text.split("\n\n") if "event:" in block]
    names = [
        line.removeprefix("event:").strip() for e in events for line in e.splitlines() if line.startswith("event:")
    ]
    assert names[:2] == ["queued", "started"]
    assert names.count("step") == 4
    assert names[-2:] == ["image", "done"]
    steps = [json.loads(_data(e)) for e, name in zip(events, names, strict=True) if name == "step"]
    assert any(step.get("preview_b64") for step in steps)


def _data(event):
    return "".join(line.removeprefix("data:").strip() for line in event.splitlines() if line.startswith("data:"))


@pytest.mark.parametrize("style_index", range(4))
def test_styles_of_the_catalogue_all_work(service, photo, style_index):
    names = [style["name"] for style in service.get("/v1/styles").json()["styles"]]
    assert len(names) >= 12
    for name in names[style_index::4]:
        assert len(portraits_of(post(service, as_jpeg(photo), style=name, subject="woman"))) == 1, name


@pytest.mark.parametrize("adapter", ["photomaker-v2", "photomaker", "instantid"])
def test_every_adapter_draws_and_its_strength_reaches_the_picture(service, photo, adapter):
    """That the right person is drawn is judged in test_tiny_bundle."""
    fields = {"adapter": adapter, "seed": 9, "subject": "woman", "format": "png"}
    answer = post(service, as_jpeg(photo), **fields)
    [portrait] = portraits_of(answer)
    [nobody] = portraits_of(post(service, as_jpeg(photo), strength=0, **fields))
    assert answer.json()["adapter"] == adapter
    assert difference(portrait, nobody) > 0.1  # v1's small tower reads little off a photograph


def test_a_framing_and_a_pose_photo_each_move_the_face(service, photo):
    fields = {"adapter": "instantid", "seed": "9", "subject": "woman", "format": "png"}
    selfie, mirrored = as_jpeg(photo), as_jpeg(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    [front] = portraits_of(post(service, selfie, framing="front", **fields))
    [closer] = portraits_of(post(service, selfie, framing="closer", **fields))
    files = {"image": ("selfie.jpg", selfie, "image/jpeg"), "pose": ("pose.jpg", mirrored, "image/jpeg")}
    [posed] = portraits_of(service.post("/v1/portraits", files=files, data=fields))
    assert min(difference(front, closer), difference(front, posed), difference(closer, posed)) > 1


def test_a_framing_is_refused_by_an_adapter_that_would_ignore_it(service, photo):
    answer = post(service, as_jpeg(photo), framing="closer")
    assert (answer.status_code, answer.json()["code"]) == (400, "pose_unsupported")
    assert "choose instantid" in answer.json()["detail"]


def difference(one, other):
    """Mean of all pixels, 0 to 255."""
    return np.abs(np.asarray(one, dtype=float) - np.asarray(other)).mean()


@pytest.mark.parametrize("sampler", ["euler", "ddim", "lcm", "tcd", "euler-ancestral"])
def test_every_sampler_makes_a_picture(service, photo, sampler):
    [picture] = portraits_of(post(service, as_jpeg(photo), sampler=sampler, subject="woman", steps=2))
    assert np.asarray(picture).std() > 15


def test_a_guided_portrait_takes_a_negative_prompt(service, photo):
    fields = {"guidance": 2.0, "negative_prompt": "comic", "prompt": "portrait photo of a woman wearing a red sweater"}
    assert len(portraits_of(post(service, as_jpeg(photo), subject="woman", **fields))) == 1


def test_the_models_page_names_the_licence_of_every_loaded_file(service):
    body = service.get("/v1/models").json()
    text = json.dumps(body)
    assert '"tiny"' in text
    assert "CC0-1.0" in text
    assert "unet" in text


def test_the_metrics_page_has_the_workers_figures(service, photo):
    post(service, as_jpeg(photo), subject="woman")
    time.sleep(1.5)  # figures come about once a second
    page = service.get("/metrics").text
    assert 'proofsheet_images_total{format="jpeg"}' in page
    assert "proofsheet_step_duration_seconds_bucket" in page
    assert 'proofsheet_faces_total{verdict="ok"}' in page
