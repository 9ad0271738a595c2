"""Bodies as clients write them: charsets, file names, unused inputs, boundaries, queries, numbers, data: URLs."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from service.api.body.data_url import read_data_url
from service.api.body.limits import UploadLimits
from service.api.forms.final import FinalForm
from service.api.forms.identity import IdentityForm
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import read_upload
from service.errors import BadRequest, TooLarge
from tests.service.clients import PICTURE, calling
from tests.service.harness import JPEG, SELFIE, build_service
from tests.service.test_forms import request_of

CALLERS = Path(__file__).parent / "callers"
FORM = {"Content-Type": "multipart/form-data; boundary=XbX"}
JSON = {"Content-Type": "application/json"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
WORDS = "portrait photo of a woman in a café"


def part(disposition, body, kind=None):
    disposition = disposition.encode() if isinstance(disposition, str) else disposition
    head = b"Content-Disposition: form-data; " + disposition
    return head + (f"\r\nContent-Type: {kind}".encode() if kind else b"") + b"\r\n\r\n" + body


def form(*parts, boundary="XbX"):
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts) + mark + b"--\r\n"


IMAGE = part('name="image"; filename="selfie.jpg"', SELFIE, "image/jpeg")


async def read(content, headers, query="", form=PortraitForm):
    return await read_upload(request_of([content], headers["Content-Type"], query=query), form, UploadLimits())


async def refusal(content, headers, query=""):
    with pytest.raises(BadRequest) as caught:
        await read(content, headers, query)
    return caught.value.code


async def test_the_bodies_that_callers_were_refused_for_are_read():
    files = [
        ("form-iso-8859-1.body", "/v1/portraits", FORM),
        ("form-empty-file-input.body", "/v1/portraits", FORM),
        ("data-url-name-percent.json", "/v1/images/edits", JSON),
        ("data-url-space-after-semicolon.json", "/v1/images/edits", JSON),
        ("data-url-wrapped-base64.json", "/v1/images/edits", JSON),
        ("json-mask-null.json", "/v1/images/edits", JSON),
        ("json-whole-float.json", "/v1/images/edits", JSON),
    ]
    calls = [("POST", path, {"content": (CALLERS / file).read_bytes(), "headers": kind}) for file, path, kind in files]

    answers = await calling(*calls)
    assert {file: answer.status_code for (file, *_), answer in zip(files, answers, strict=True)} == {
        file: 200 for file, *_ in files
    }


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("ISO-8859-1", "latin-1"),
        ("iso_8859-15", "iso8859-15"),
        ("windows-1252", "cp1252"),
        ("Windows-1250", "cp1250"),
        ("UTF-16", "utf-16"),
        ("utf-16le", "utf-16-le"),
        ("utf-16be", "utf-16-be"),
        ('"utf-8"', "utf-8"),
        ("US-ASCII", "utf-8"),
        ("GB18030", "gb18030"),
    ],
)
@pytest.mark.parametrize("how", ["part", "_charset_", "urlencoded", "json"])
async def test_a_text_is_read_in_its_declared_charset(how, label, codec):
    text = WORDS.encode(codec)
    match how:
        case "part":
            content, headers = form(part('name="prompt"', text, f"text/plain; charset={label}"), IMAGE), FORM
        case "_charset_":
            named = part('name="_charset_"', label.strip('"').encode())
            content, headers = form(named, part('name="prompt"', text), IMAGE), FORM
        case "urlencoded":
            content = f"prompt={quote(text)}&identity=identity.abc".encode()
            headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={label}"}
        case _:
            content = json.dumps({"prompt": WORDS, "image": PICTURE}, ensure_ascii=False).encode(codec)
            headers = {"Content-Type": f"application/json; charset={label}"}
    assert (await read(content, headers)).form.prompt == WORDS


@pytest.mark.parametrize("label", ["klingon", "idna", "punycode", "unicode_escape", "utf-7", "rot13", "x" * 200])
async def test_a_charset_that_no_browser_knows_is_refused(label):
    assert await refusal(form(part('name="prompt"', b"a man", f"text/plain; charset={label}"), IMAGE), FORM) == (
        "invalid_field"
    )


NAMES = [
    'filename="caf\xe9.jpg"'.encode("latin-1"),
    'filename="写真.jpg"'.encode("shift_jis"),
    b'filename="\x95\x5c"',  # whose last byte is a backslash in that charset
    'filename="фото.jpg"'.encode("cp1251"),
    b'filename="\xff\xfe\x80.jpg"',
    b"filename*=UTF-8''caf%C3%A9.jpg",
    b"filename=\xff(1).jpg",
    b'filename="a;b=c, \\"d\\".jpg"',
    b'filename="../../etc/passwd"',
    b'filename="C:\\fakepath\\me.jpg"',
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_may_have_any_name(name):
    upload = await read(form(part(b'name="image"; ' + name, SELFIE)), FORM)
    assert upload.images == [bytearray(SELFIE)]


async def test_a_file_may_have_any_name_on_every_surface():
    surfaces = [("/v1/portraits", b"image"), ("/v1/identities", b"image"), ("/v1/files", b"content")]
    calls = [
        ("POST", path, {"content": form(part(b'name="%s"; %s' % (field, name), SELFIE)), "headers": FORM})
        for path, field in surfaces
        for name in NAMES[:3]
    ]

    assert {answer.status_code for answer in await calling(*calls)} <= {200, 201}


UNUSED = [
    part('name="pose"; filename=""', b"", "application/octet-stream"),
    part('name="image[]"; filename=""', b"", "application/octet-stream"),
    part('name="image"; filename=""', b""),
]
MASK = part('name="mask"; filename=""', b"", "application/octet-stream")
PROMPT = part('name="prompt"', b"a woman")


USED = [
    ("/v1/portraits", [IMAGE, *UNUSED]),
    ("/v1/portraits", [*UNUSED, IMAGE]),
    ("/v1/identities", [IMAGE, UNUSED[1]]),
    ("/v1/images/edits", [IMAGE, PROMPT, MASK]),
    ("/v1/images/edits", [UNUSED[1], MASK, PROMPT, part('name="size"', b""), IMAGE]),
]


async def test_a_file_input_that_was_not_used_is_no_file():
    answers = await calling(*(("POST", path, {"content": form(*parts), "headers": FORM}) for path, parts in USED))
    assert [answer.status_code for answer in answers] == [200] * len(USED)


async def test_a_file_without_a_name_is_a_file():
    upload = await read(form(part('name="image"; filename=""', SELFIE, "application/octet-stream")), FORM)
    assert upload.images == [bytearray(SELFIE)]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([UNUSED[0]], "image_missing"),
        ([part('name="promt"; filename=""', b"text"), IMAGE], "unknown_field"),
        ([UNUSED[0]] * 40 + [IMAGE], "too_many_fields"),
        ([part('name="_charset_"', b"utf-8")] * 40 + [IMAGE], "too_many_fields"),
    ],
)
async def test_unused_inputs_open_no_door(parts, code):
    assert await refusal(form(*parts), FORM) == code


@pytest.mark.parametrize(
    ("parameter", "boundary"),
    [
        ("boundary=----=_Part_1_2.3", "----=_Part_1_2.3"),
        ("boundary=a:b", "a:b"),
        ("boundary=(x)/?,'+", "(x)/?,'+"),
        ('charset=utf-8; boundary="a; b=c"', "a; b=c"),
        ("BOUNDARY = a=b ; charset=utf-8", "a=b"),
    ],
)
async def test_a_boundary_is_read_as_servers_of_browsers_read_it(parameter, boundary):
    upload = await read(form(IMAGE, boundary=boundary), {"Content-Type": f"multipart/form-data; {parameter}"})
    assert upload.images == [bytearray(SELFIE)]


@pytest.mark.parametrize("query", ["prompt=a+man&", "&prompt=a+man", "&&prompt=a+man&&n=2", "&", "&&&"])
@pytest.mark.parametrize("headers", [JPEG, FORM], ids=["raw", "multipart"])
async def test_nothing_between_two_ampersands_is_no_error(query, headers):
    upload = await read(SELFIE if headers is JPEG else form(IMAGE), headers, query)
    assert upload.form.prompt == ("a man" if "man" in query else None)


@pytest.mark.parametrize("body", ["proof=p.x&", "&&proof=p.x"])
async def test_a_form_without_files_may_end_with_an_ampersand(body):
    assert (await read(body.encode(), URLENCODED, form=FinalForm)).form.proof == "p.x"


async def test_many_pairs_are_refused_however_they_are_joined():
    assert await refusal(SELFIE, JPEG, "&&".join(["n=1"] * 40)) == "query_malformed"


EDIT = {"prompt": "a woman", "images": [{"image_url": PICTURE}]}
WAIT = {"Prefer": "wait"}
OWN = {"version": "proofsheet/portraits"}


async def test_a_whole_number_in_json_may_have_a_point():
    own, theirs, replicates = await calling(
        ("POST", "/v1/portraits", {"json": {"image": PICTURE, "n": 2.0, "seed": 7.0}}),
        ("POST", "/v1/images/edits", {"json": EDIT | {"n": 2.0, "seed": 7.0}}),
        (
            "POST",
            "/v1/predictions",
            {"json": OWN | {"input": {"image": PICTURE, "n": 2.0}}, "headers": WAIT},
        ),
    )
    assert [image["seed"] for image in own.json()["images"]] == [7, 8]
    assert [image["seed"] for image in theirs.json()["data"]] == [7, 8]
    assert len(replicates.json()["output"]) == 2


@pytest.mark.parametrize(
    "written", [PICTURE + "\n", f"{PICTURE[:30]}\r\n{PICTURE[30:]}", PICTURE.upper()[:5] + PICTURE[5:]]
)
async def test_a_short_data_url_may_come_in_lines_on_every_surface(written):
    answers = await calling(
        ("POST", "/v1/portraits", {"json": {"image": written}}),
        ("POST", "/v1/images/edits", {"json": {"prompt": "a woman", "images": [{"image_url": written}]}}),
        ("POST", "/v1/predictions", {"json": OWN | {"input": {"image": written}}, "headers": WAIT}),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 201]


async def test_null_is_left_out_of_an_edits_picture_too():
    entry = {"image_url": PICTURE, "file_id": None}
    answer, other = await calling(
        ("POST", "/v1/images/edits", {"json": EDIT | {"images": [entry]}}),
        ("POST", "/v1/images/edits", {"json": EDIT | {"images": [{"image_url": None, "file_id": "file-1"}]}}),
    )
    assert answer.status_code == 200
    assert other.json()["error"]["code"] == "file_id_unsupported"


async def test_null_is_left_out():
    bodies = [
        ("/v1/portraits", {"image": PICTURE, "style": None, "pose": None, "seed": None}),
        ("/v1/portraits", {"image[]": [PICTURE], "image": None, "identity": None}),
        ("/v1/identities", {"image": PICTURE, "adapter": None}),
        ("/v1/images/edits", EDIT | {"mask": None, "user": None, "background": None, "file_id": None}),
        ("/v1/predictions", OWN | {"input": {"image": PICTURE, "images": None, "n": None}, "webhook": None}),
    ]

    answers = await calling(*(("POST", path, {"json": body}) for path, body in bodies))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 201]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": "2"}, "'n' is '2' in quotes, and JSON writes it without: it must be a whole number"),
        ({"strength": "0.5"}, "'strength' is '0.5' in quotes"),
        ({"previews": "true"}, "'previews' is 'true' in quotes"),
        ({"n": "two"}, "'n' is 'two': it must be a whole number"),
        ({"n": 2.5}, "'n' is '2.5': it must be a whole number"),
        ({"n": 9.0}, "'n' is '9': it must be a whole number"),
    ],
)
async def test_a_wrong_number_in_json_is_told_by_what_is_wrong(fields, words):
    with pytest.raises(BadRequest) as caught:
        await read(json.dumps({"image": PICTURE} | fields).encode(), JSON)
    assert words in caught.value.message


@pytest.mark.parametrize("word", ["jpg", "JPG", "jpeg", "JPEG", "image/jpg", "image/jpeg", "Image/JPEG"])
async def test_a_format_is_known_by_all_its_words(word):
    assert (await read(SELFIE, JPEG, f"format={word}")).form.delivery.format == "jpeg"


async def test_a_format_is_known_by_all_its_words_on_every_surface():
    word = "JPG"
    raw, listed, theirs, replicates = await calling(
        ("POST", "/v1/portraits", {"content": SELFIE, "headers": JPEG, "params": {"format": word}}),
        ("POST", "/v1/portraits", {"json": {"image": PICTURE, "format": word}}),
        ("POST", "/v1/images/edits", {"json": EDIT | {"output_format": word}}),
        ("POST", "/v1/predictions", {"json": OWN | {"input": {"image": PICTURE, "format": word}}, "headers": WAIT}),
    )
    assert [raw.json()["images"][0]["format"], listed.json()["images"][0]["format"]] == ["jpeg", "jpeg"]
    assert theirs.json()["output_format"] == "jpeg"
    assert replicates.json()["output"][0].startswith("data:image/jpeg;")


# ---- refusals that say what to do

PHOTO = b"\xff\xd8\xff" + SELFIE


@pytest.mark.parametrize(
    ("content", "headers", "query", "words"),
    [
        (PHOTO, URLENCODED, "style=outdoor", "The body is a JPEG picture, and its Content-Type says something else"),
        (PHOTO, FORM, "", "The body is a JPEG picture, and its Content-Type says something else"),
        (PHOTO, JSON, "", "The body is a JPEG picture, and its Content-Type says something else"),
        (b'{"n": 2}', URLENCODED, "", "The body is JSON, and its Content-Type says something else"),
        (b'{"image": "AA=="}', URLENCODED, "", "name application/json"),
        (b"image=abc", URLENCODED, "", "with curl, -F image=@selfie.jpg sends a file, and JSON takes base64"),
        (b"image=@selfie.jpg", URLENCODED, "", "with curl, -F image=@selfie.jpg sends a file"),
        (form(part('name="pose"', b"front"), IMAGE), FORM, "", "for selfie, front, "),
        (b"pose=front", URLENCODED, "", "the field is 'framing'."),
        (SELFIE, JPEG, "pose=front", "the field is 'framing'."),
        (b'{"pose": "front"}', JSON, "", "the field is 'framing'."),
        (b'{"pose": "slight-left"}', JSON, "", "the field is 'framing'."),
    ],
)
async def test_a_body_that_is_meant_otherwise_is_told_how_to_be_sent(content, headers, query, words):
    with pytest.raises(BadRequest) as caught:
        await read(content, headers, query)
    assert words in caught.value.message


@pytest.mark.parametrize("kind", ["file", "text", "json"])
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("file", "image"),
        ("photo", "image"),
        ("images[]", "image"),
        ("imgae", "image"),
        ("num_images", "n"),
        ("num_outputs", "n"),
        ("num_inference_steps", "steps"),
        ("guidance_scale", "guidance"),
        ("width", "size"),
        ("output_format", "format"),
        ("model", "adapter"),
    ],
)
async def test_the_name_that_other_interfaces_have_is_answered_with_ours(name, near, kind):
    file_name = '; filename="a.jpg"' if kind == "file" else ""
    content = form(part(f'name="{name}"{file_name}', SELFIE)) if kind != "json" else json.dumps({name: "1"}).encode()
    with pytest.raises(BadRequest, match="unknown_field") as caught:
        await read(content, JSON if kind == "json" else FORM)
    assert caught.value.message.endswith(f"did you mean '{near}'?")


async def test_a_large_picture_that_is_sent_as_a_form_is_told_how_to_be_sent():
    with pytest.raises(TooLarge) as caught:
        await read_upload(request_of([], URLENCODED["Content-Type"], length=4_000_000), PortraitForm, UploadLimits())
    assert "(Content-Type: image/...)" in caught.value.message


# ---- pictures in JSON

PLAIN = base64.b64encode(SELFIE).decode()


@pytest.mark.parametrize(
    ("image", "count"),
    [
        (PLAIN, 1),
        (PICTURE, 1),
        (PLAIN + "\n", 1),
        ([PLAIN], 1),
        ([PLAIN, PICTURE, PICTURE], 3),
    ],
)
@pytest.mark.parametrize("form", [PortraitForm, IdentityForm])
async def test_selfies_may_come_in_json(form, image, count):
    upload = await read(json.dumps({"image": image}).encode(), JSON, form=form)
    assert upload.images == [bytearray(SELFIE)] * count


async def test_selfies_in_json_make_what_selfies_in_a_form_make():
    service = build_service()

    inline, parts = await calling(
        (
            "POST",
            "/v1/portraits",
            {"json": {"image": [PLAIN, PICTURE], "n": 2, "seed": 7, "adapter": "instantid", "pose": PICTURE}},
        ),
        (
            "POST",
            "/v1/portraits",
            {
                "files": [("image", SELFIE), ("image", SELFIE), ("pose", SELFIE)],
                "data": {"n": "2", "seed": "7", "adapter": "instantid"},
            },
        ),
        service=service,
    )
    assert (inline.status_code, parts.status_code) == (200, 200), (inline.text, parts.text)
    assert len(service.decoders.seen) == 6
    first, second = (msgspec.structs.asdict(order) for order in service.fakes[0].orders)
    of_the_job = {"job_id", "photos", "deadline_seconds", "traceparent"}
    assert {name for name, value in first.items() if second[name] != value} <= of_the_job


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"image": "https://example.org/me.jpg"}, "image_not_inline", "image"),
        ({"image": "not a picture"}, "image_not_base64", "image"),
        ({"image": [PLAIN, "x"]}, "image_not_base64", "image[1]"),
        ({"image": ""}, "image_missing", "image"),
        ({"image": []}, "image_missing", "image"),
        ({"image": {"url": PICTURE}}, "invalid_field", "image"),
        ({"image": [[PICTURE]]}, "invalid_field", "image[0]"),
        ({"image": 5}, "invalid_field", "image"),
        ({"image": [PLAIN] * 9}, "too_many_images", "image"),
        ({"image": [PLAIN] * 5, "image[]": [PLAIN] * 4}, "too_many_images", "image"),
        ({"image": PLAIN, "pose": [PLAIN, PLAIN]}, "invalid_field", "pose"),
        ({"image": PLAIN, "identity": "identity.abc"}, "identity_and_image", "identity"),
        ({"image": PLAIN, "n": 99}, "invalid_field", "n"),
        ({"images": PLAIN}, "unknown_field", "images"),
    ],
)
async def test_wrong_pictures_in_json_are_refused_by_name(body, code, field):
    with pytest.raises(BadRequest) as caught:
        await read(json.dumps(body).encode(), JSON)
    assert (caught.value.code, caught.value.extra["field"]) == (code, field)


async def test_pictures_in_json_keep_the_bound_of_other_pictures():
    body = json.dumps({"image": [PLAIN, base64.b64encode(bytes(1001)).decode()]}).encode()
    request = request_of([body], JSON["Content-Type"])

    with pytest.raises(TooLarge, match="image_too_many_bytes") as caught:
        await read_upload(request, PortraitForm, UploadLimits(max_image_bytes=1000))
    assert (caught.value.limit, caught.value.extra["field"]) == (1000, "image[1]")


async def test_a_json_body_keeps_its_bound():
    request = request_of([], JSON["Content-Type"], length=2_000_000)

    with pytest.raises(TooLarge, match="body_too_large"):
        await read_upload(request, PortraitForm, UploadLimits(max_body_bytes=1_000_000))


# ---- data: URLs

DATA = bytes(range(256)) * 5
STANDARD = base64.b64encode(DATA).decode()


def in_lines(text, end):
    return end.join(text[at : at + 76] for at in range(0, len(text), 76)) + end


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/jpeg;base64,{STANDARD}",
        f"data:image/jpeg;name=my%20selfie.jpg;base64,{STANDARD}",
        f"data:image/jpeg;name=me (1).jpg;base64,{STANDARD}",
        f'data:image/jpeg;name="a,b;c.jpg";base64,{STANDARD}',
        f"data:image/jpeg; charset=utf-8; base64,{STANDARD}",
        f"data:image/svg+xml;a=b;c=d;e=f;g=h;i=j;base64;name=x,{STANDARD}",
        f"DATA:IMAGE/JPEG;BASE64,{STANDARD}",
        f"data:;base64,{STANDARD}",
        f"  data:image/jpeg;base64,{STANDARD}\n",
        f"data:image/jpeg;base64,{in_lines(STANDARD, chr(10))}",
        f"data:image/jpeg;base64,{in_lines(STANDARD, chr(13) + chr(10))}",
        f"data:image/jpeg;base64,{base64.urlsafe_b64encode(DATA).decode()}",
        f"data:image/jpeg;base64,{base64.urlsafe_b64encode(DATA).decode().rstrip('=')}",
        f"data:image/jpeg;base64,{quote(STANDARD, safe='')}",
        f"data:image/jpeg,{quote(DATA)}",
        f"data:,{quote(DATA)}",
    ],
    ids=lambda url: url[:44],
)
def test_a_data_url_is_read_as_browsers_read_it(url):
    assert read_data_url("image", url, max_bytes=len(DATA)) == DATA


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/jpeg;base64", "image_not_inline"),
        ("data:" + "a" * 2000 + ";base64,AAAA", "image_not_inline"),
        ('data:image/jpeg;name="a;base64,AAAA', "image_not_inline"),
        ("https://example.org/data:image/jpeg;base64,AAAA", "image_not_inline"),
        ("blob:https://example.org/1", "image_not_inline"),
        ("data:image/jpeg;base64,AAAAA", "image_not_base64"),
        ("data:image/jpeg;base64,AAA=AAA=", "image_not_base64"),
        ("data:image/jpeg;base64,AA AA", "image_not_base64"),
        ("data:image/jpeg;base64,AA\0A", "image_not_base64"),
        ("data:image/jpeg;base64,ÀÀÀÀ", "image_not_base64"),
        ("data:image/jpeg;base64,\n", "image_missing"),
        ("data:image/jpeg,", "image_missing"),
    ],
)
def test_what_is_no_data_url_is_refused(url, code):
    with pytest.raises(BadRequest, match=code):
        read_data_url("image", url, max_bytes=1000)


@pytest.mark.parametrize(
    "url", [f"data:;base64,{STANDARD}", f"data:,{quote(DATA)}", f"data:;base64,{in_lines(STANDARD, chr(10))}"]
)
def test_a_data_url_is_bounded_by_the_bytes_that_it_has(url):
    with pytest.raises(TooLarge, match="image_too_many_bytes"):
        read_data_url("image", url, max_bytes=len(DATA) - 1)
