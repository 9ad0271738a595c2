"""The reading of portrait requests, through a real Litestar app of one handler."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar, Request, Response, post
from litestar.testing import TestClient

from service.api.body.limits import UploadLimits
from service.api.body.received import each_once
from service.api.forms.fields import flat_fields, flat_struct
from service.api.forms.final import FinalForm
from service.api.forms.form import Form
from service.api.forms.identity import IdentityForm
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import Upload, read_upload
from service.api.presence import ClientLeft
from service.arrival import Pace
from service.errors import BadRequest, ServiceError, UploadTooSlow
from service.memory import wipe
from tests.service.decoders.corpus import FORMS, HostileForm
from tests.service.form_corpus import BOUNDARY, MULTIPART, image, joined, part, selfie, with_fields

LIMITS = UploadLimits()
FIELDS = list(flat_fields(PortraitForm))
AnyRequest = Request[Any, Any, Any]


@post("/", status_code=200)
async def receive_portrait(request: AnyRequest) -> dict[str, Any]:
    upload = await read_upload(request, PortraitForm, LIMITS)
    fields = flat(upload.form)
    pose = None if upload.pose is None else len(upload.pose)
    return {"sizes": [len(image) for image in upload.images], "pose": pose, "fields": fields}


def flat(form: Form) -> dict[str, Any]:
    """Its values by the names that a caller gives them."""
    fields = flat_fields(type(form)).values()
    return {one.name: getattr(getattr(form, one.group) if one.group else form, one.name) for one in fields}


def answer(_request: AnyRequest, error: ServiceError) -> Response[dict[str, Any]]:
    return Response(error.problem("r1"), status_code=error.status)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar([receive_portrait], exception_handlers={ServiceError: answer})
    with TestClient(app, raise_server_exceptions=True) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a spooled upload would show up: empty before, empty after every test of this file."""
    folder = tmp_path_factory.mktemp("spool")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before
    assert list(folder.iterdir()) == []


def send(client: TestClient[Litestar], body: bytes, kind: str | None = MULTIPART, query: str = "") -> httpx.Response:
    headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
    return client.post("/" + (f"?{query}" if query else ""), content=body, headers=headers)


def read(**fields: str) -> PortraitForm:
    return PortraitForm.read(fields, from_text=True)


def no_surprise(text: str) -> bool:
    return text.isprintable() and text.endswith((".", "?", "selfie.jpg")) and len(text) < 400


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_of_the_corpus_gets_its_answer(client: TestClient[Litestar], form: HostileForm) -> None:
    response = send(client, form.body, form.content_type, form.query)
    body = response.json()
    if form.expect.status is None:
        assert response.status_code == 200, body
    else:
        assert (response.status_code, body["code"]) in {(form.expect.status, code) for code in form.expect.codes}, body
        assert no_surprise(body["detail"]), body["detail"]


class TestForm:
    def test_every_field_is_read_as_its_type(self, client: TestClient[Litestar]) -> None:
        query = (
            "prompt=a%20man&negative_prompt=&subject=man&n=8&size=768x1024&seed=4294967295&steps=50&sampler=lcm&gamma=0.25"
            "&guidance=0&adapter=photomaker&strength=0.5&format=png&quality=1&deadline=0.1&previews=1"
            "&several_faces=refuse&disagreeing=refuse&framing=slight-left&control_strength=0.7&region=face&lora=film&lora_scale=-0.5"
            "&on_disconnect=finish&webhook=https://shop.example/hook"
        )
        fields = send(client, selfie(), "image/jpeg", query).json()["fields"]
        assert fields == {
            "style": None,
            "prompt": "a man",
            "negative_prompt": "",
            "subject": "man",
            "n": 8,
            "size": "768x1024",
            "seed": 4294967295,
            "steps": 50,
            "sampler": "lcm",
            "guidance": 0.0,
            "gamma": 0.25,
            "adapter": "photomaker",
            "strength": 0.5,
            "framing": "slight-left",
            "control_strength": 0.7,
            "region": "face",
            "lora": "film",
            "lora_scale": -0.5,
            "format": "png",
            "quality": 1,
            "deadline": 0.1,
            "on_disconnect": "finish",
            "webhook": "https://shop.example/hook",
            "identity": None,
            "previews": True,
            "several_faces": "refuse",
            "disagreeing": "refuse",
        }

    def test_nothing_given_is_all_defaults(self, client: TestClient[Litestar]) -> None:
        fields = send(client, selfie(), "image/jpeg").json()["fields"]
        assert fields == flat(PortraitForm())

    @pytest.mark.parametrize("name", FIELDS)
    def test_every_field_has_a_rule_to_quote(self, name: str) -> None:
        assert len(flat_fields(PortraitForm)[name].rule) > 10

    def test_a_wrong_value_is_named_with_its_rule(self) -> None:
        with pytest.raises(BadRequest) as caught:
            read(n="9")
        assert caught.value.message == "The field 'n' is '9': it must be a whole number from 1 to 8 (of portraits)."
        assert caught.value.extra == {"field": "n"}

    def test_a_long_value_is_not_echoed(self) -> None:
        with pytest.raises(BadRequest) as caught:
            read(steps="7" * 5000)
        start, end = "The field 'steps' is something of 5000 characters", "it must be a whole number from 1 to 50."
        assert caught.value.message == f"{start}: {end}"

    def test_a_prompt_is_never_echoed(self) -> None:
        with pytest.raises(BadRequest) as caught:
            read(prompt="secret\0")
        assert "secret" not in str(caught.value.problem("r1")) + repr(caught.value)

    @pytest.mark.parametrize(("wrong", "near"), [("promt", "prompt"), ("Seeds", "seed"), ("step", "steps")])
    def test_a_misspelt_field_gets_a_suggestion(self, wrong: str, near: str) -> None:
        with pytest.raises(BadRequest) as caught:
            read(**{wrong: "1"})
        assert caught.value.message == f"There is no field called '{wrong}': did you mean '{near}'?"

    def test_a_strange_field_gets_the_list(self) -> None:
        with pytest.raises(BadRequest) as caught:
            read(zzzzzz="1")
        assert "known are image, for the selfies, pose, for a pose photo, and style, prompt," in caught.value.message

    def test_the_repr_keeps_the_prompt_to_itself(self) -> None:
        form = PortraitForm(prompt="secret", negative_prompt="secret")
        assert "secret" not in repr(form) + repr(Upload(form, [bytearray(b"secret")]))

    @given(st.lists(st.tuples(st.sampled_from([*FIELDS, "image", ""]), st.text(max_size=30)), max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_any_text_is_read_or_refused(self, fields: list[tuple[str, str]]) -> None:
        try:
            form = flat(PortraitForm.read(each_once(fields), from_text=True))
        except BadRequest as refusal:
            assert refusal.extra["field"] in {name for name, _ in fields}  # noqa: PT017 - either outcome is right
        else:
            assert 1 <= form["n"] <= 8
            assert form["guidance"] is None or 0 <= form["guidance"] <= 20


class TestUpload:
    def test_images_arrive_whole_and_in_order(self, client: TestClient[Litestar]) -> None:
        body = joined(image(body=b"a" * 10), part("n", b"3"), image("image[]", b"\r\n--" + b"b" * 70_000))
        answer = send(client, body).json()
        assert answer["sizes"] == [10, 70_004]
        assert answer["fields"]["n"] == 3

    def test_more_than_a_megabyte_makes_no_file(self, client: TestClient[Litestar], temporary_folder: Path) -> None:
        """A framework's form reading would have begun to spool."""
        assert send(client, joined(image(body=bytes(5_000_000)))).json()["sizes"] == [5_000_000]
        assert list(temporary_folder.iterdir()) == []

    def test_wipe_leaves_zeros(self) -> None:
        images = [bytearray(b"face"), bytearray()]
        wipe(images)
        assert images == [bytearray(4), bytearray()]

    @given(data=st.binary(max_size=300), kind=st.sampled_from([MULTIPART, "image/png", "multipart/form-data", "a/b"]))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_body_is_read_or_refused(self, client: TestClient[Litestar], data: bytes, kind: str) -> None:
        start = f"--{BOUNDARY}\r\n".encode() if kind == MULTIPART else b""
        assert send(client, start + data, kind).status_code in (200, 400, 415)

    @given(cuts=st.lists(st.integers(0, 2000), max_size=6))
    @settings(max_examples=100, deadline=None)
    async def test_where_the_body_is_cut_into_chunks_makes_no_difference(self, cuts: list[int]) -> None:
        body = joined(part("prompt", b"a man"), image(body=b"\r\n--x" * 300))
        edges = [0, *sorted(cuts), len(body)]
        chunks = [body[a:b] for a, b in itertools.pairwise(edges) if b > a]
        upload = await read_upload(request_of(chunks), PortraitForm, LIMITS)
        assert upload.form.prompt == "a man"
        assert [bytes(image) for image in upload.images] == [b"\r\n--x" * 300]

    async def test_one_byte_at_a_time_is_read_too(self) -> None:
        body = with_fields(("prompt", "a man"))[:200] + with_fields(("prompt", "a man"))[-30:]
        upload = await read_upload(request_of([bytes([byte]) for byte in body]), PortraitForm, LIMITS)
        assert upload.form.prompt == "a man"


def request_of(
    chunks: list[bytes],
    kind: str = MULTIPART,
    leave: bool = False,
    stall: bool = False,
    length: int | None = None,
    query: str = "",
) -> AnyRequest:
    """A request whose body comes in these chunks; then the caller leaves, or stalls, or is done."""

    async def events() -> AsyncIterator[dict[str, Any]]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if leave:
            yield {"type": "http.disconnect"}
        if stall:
            await asyncio.sleep(60)
        yield {"type": "http.request", "body": b"", "more_body": False}
        raise AssertionError("read past the end")

    stream = events()
    headers = [(b"content-type", kind.encode())]
    headers += [] if length is None else [(b"content-length", str(length).encode())]
    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": query.encode(),
        "headers": headers,
        "state": {},
    }
    receive: Any = stream.__anext__
    return Request(scope, receive)


URLENCODED = "application/x-www-form-urlencoded"
KINDS = [MULTIPART, "image/jpeg", "application/json", URLENCODED]


class TestOneSetOfRules:
    """A field is read by its rule, however it came."""

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"n": "9"}, "The field 'n' is '9': it must be a whole number from 1 to 8 (of portraits)."),
            (
                {"prompt": "x" * 2001},
                "The field 'prompt' has 2001 characters: it must be a text of 1 to 2000 characters.",
            ),
            (
                {"region": "body\x07"},
                "The field 'region' has control characters in it: it must be "
                + flat_fields(PortraitForm)["region"].rule
                + ".",
            ),
            ({"lora": "../film"}, "The field 'lora' is '../film': it must be the name of a style LoRA."),
            ({"sed": "1"}, "There is no field called 'sed': did you mean 'seed'?"),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_wrong_field_gets_the_same_sentence(
        self, client: TestClient[Litestar], kind: str, fields: dict[str, Any], sentence: str
    ) -> None:
        answer = sent_as(client, kind, fields)
        assert (answer.status_code, answer.json()["detail"]) == (400, sentence)

    @pytest.mark.parametrize("kind", ["image/jpeg", "application/json"])
    @pytest.mark.parametrize("value", ["", "  "])
    def test_an_empty_field_is_refused_where_no_html_form_writes_it(
        self, client: TestClient[Litestar], kind: str, value: str
    ) -> None:
        answer = sent_as(client, kind, {"style": value})
        sentence = "The field 'style' is empty: give the name of a style in the catalogue, or leave it out."
        assert (answer.status_code, answer.json()["detail"]) == (400, sentence)

    @pytest.mark.parametrize("kind", [MULTIPART, URLENCODED])
    @pytest.mark.parametrize("value", ["", " ", "\r\n"])
    @pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("negative_prompt", "identity")])
    def test_what_nobody_filled_in_is_left_out_of_a_form(
        self, client: TestClient[Litestar], kind: str, name: str, value: str
    ) -> None:
        fields = sent_as(client, kind, {name: value, "identity": "identity.abc"}, photo=False).json()["fields"]
        assert fields == flat(PortraitForm(identity="identity.abc"))

    @pytest.mark.parametrize("kind", [MULTIPART, URLENCODED])
    def test_an_empty_negative_prompt_says_that_there_is_none(self, client: TestClient[Litestar], kind: str) -> None:
        fields = sent_as(client, kind, {"negative_prompt": "", "identity": "identity.abc"}, photo=False).json()[
            "fields"
        ]
        assert fields["negative_prompt"] == ""

    @pytest.mark.parametrize("kind", [MULTIPART, "application/json", URLENCODED])
    def test_a_token_may_end_with_its_line(self, client: TestClient[Litestar], kind: str) -> None:
        """As it does in a file."""
        fields = sent_as(client, kind, {"identity": "identity.abc\n"}, photo=False).json()["fields"]
        assert fields["identity"] == "identity.abc"

    @pytest.mark.parametrize("kind", [MULTIPART, "application/json", URLENCODED])
    def test_a_token_is_never_quoted(self, client: TestClient[Litestar], kind: str) -> None:
        answer = sent_as(client, kind, {"identity": "short\x01"}, photo=False)
        assert answer.status_code == 400
        assert "short" not in answer.text

    @pytest.mark.parametrize("value", [True, 1.5, [], {}, "2"])
    def test_a_number_in_json_is_a_number(self, client: TestClient[Litestar], value: object) -> None:
        answer = client.post("/", json={"n": value, "identity": "identity.abc"})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_field", "n")

    @pytest.mark.parametrize("name", ["control_window", "mark", "longest_side", "delivery", "sampling"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_has_no_rule_is_not_a_callers_to_set(self, client: TestClient[Litestar], kind: str, name: str) -> None:
        assert sent_as(client, kind, {name: "1"}).json()["code"] == "unknown_field"


def sent_as(client: TestClient[Litestar], kind: str, fields: dict[str, Any], *, photo: bool = True) -> httpx.Response:
    """These fields, and where that can be a selfie, by a body of this kind."""
    match kind:
        case "image/jpeg":
            return client.post("/", params=fields, content=selfie(), headers={"Content-Type": kind})
        case "application/json":
            return client.post("/", json=fields)
        case _ if kind == URLENCODED:
            return client.post("/", data=fields)
        case _:
            texts = [part(name, value.encode()) for name, value in fields.items()]
            return send(client, joined(*texts, *([image()] if photo else [])))


class TestOtherForms:
    async def test_the_form_of_a_final_takes_no_photo(self) -> None:
        request = request_of([joined(part("proof", b"proof.abc"), image())])
        with pytest.raises(BadRequest, match="unknown_field") as caught:
            await read_upload(request, FinalForm, LIMITS)
        assert caught.value.message == "No photo is taken here: leave it out."

    async def test_the_form_of_a_final_needs_its_proof(self) -> None:
        with pytest.raises(BadRequest, match="field_missing") as caught:
            await read_upload(request_of([b"{}"], "application/json"), FinalForm, LIMITS)
        assert caught.value.extra == {"field": "proof"}

    @pytest.mark.parametrize("name", [name for name in FIELDS if name not in flat_fields(IdentityForm)])
    def test_the_form_of_an_identity_takes_nothing_about_a_picture(self, name: str) -> None:
        with pytest.raises(BadRequest, match="unknown_field") as caught:
            IdentityForm.read({name: "1"}, from_text=True)
        assert "where no picture is made" in caught.value.message

    @pytest.mark.parametrize("form", [PortraitForm, IdentityForm, FinalForm])
    def test_a_field_is_found_by_one_name(self, form: type[Form]) -> None:
        assert {one.name: one.group for one in flat_fields(form).values()}.keys() == flat_fields(form).keys()
        assert flat_struct(form).__struct_fields__ == tuple(flat_fields(form))


class TestWiping:
    @pytest.mark.parametrize(
        ("body", "kind", "query"),
        [
            (joined(image(body=b"face"), part("n", b"9")), MULTIPART, ""),
            (joined(image(body=b"face"), part("promt", b"x")), MULTIPART, ""),
            (joined(image(body=b"face"), part("identity", b"identity.abc")), MULTIPART, ""),
            (joined(image(body=b"face"), end=b""), MULTIPART, ""),
            (joined(image(body=b"face"), image("pose", b"face"), image("pose", b"face")), MULTIPART, ""),
            (b"face", "image/jpeg", "identity=identity.abc"),
            (b'{"prompt": "secret"', "application/json", ""),
            (b'{"image": ["ZmFjZQ==", "?"]}', "application/json", ""),
            (b'{"image": "ZmFjZQ==", "identity": "identity.abc"}', "application/json", ""),
            (b"prompt=secret&", URLENCODED, ""),
        ],
    )
    async def test_whatever_is_read_of_a_refused_body_is_overwritten(
        self, monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str, query: str
    ) -> None:
        wiped: list[bytearray] = []

        def note(buffers: Iterable[bytearray]) -> None:
            wiped.extend(listed := list(buffers))
            wipe(listed)

        for module in ("received", "json_object", "urlencoded"):
            monkeypatch.setattr(f"service.api.body.{module}.wipe", note)
        with pytest.raises(BadRequest):
            await read_upload(request_of([body], kind, query=query), PortraitForm, LIMITS)
        assert wiped
        assert all(buffer and not any(buffer) for buffer in wiped)


class TestUnfinished:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_caller_who_leaves_is_no_error_of_ours(self, kind: str) -> None:
        request = request_of([joined(image())[:900]], kind, leave=True)
        with pytest.raises(ClientLeft):
            await read_upload(request, PortraitForm, LIMITS)

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_caller_who_stalls_gets_408(self, kind: str) -> None:
        request = request_of([joined(image())[:900]], kind, stall=True)
        with pytest.raises(UploadTooSlow, match="upload_too_slow") as caught:
            await read_upload(request, PortraitForm, UploadLimits(pace=Pace(total_seconds=0.05)))
        assert caught.value.status == 408
        assert caught.value.closes_connection

    async def test_a_declared_length_over_the_bound_is_refused_before_a_byte_is_read(self) -> None:
        request = request_of([], stall=True, length=12_000_001, kind="image/jpeg")
        with pytest.raises(ServiceError, match="image_too_many_bytes") as caught:
            await read_upload(request, PortraitForm, LIMITS)
        assert (caught.value.value, caught.value.limit) == (12_000_001, 12_000_000)

    async def test_an_endless_body_is_refused_at_the_bound(self) -> None:
        request = request_of([bytes(1000)] * 12, kind="image/jpeg", stall=True)
        with pytest.raises(ServiceError, match="image_too_many_bytes") as caught:
            await read_upload(request, PortraitForm, UploadLimits(max_image_bytes=10_000))
        assert caught.value.value == 11_000

    def test_a_compressed_body_is_refused(self, client: TestClient[Litestar]) -> None:
        headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
        response = client.post("/", content=selfie(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (415, "content_encoded")
