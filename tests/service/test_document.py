"""One document for all surfaces: complete, with examples that work, and a page that shows it without a script."""

import re

import pytest

from service.api.forms.fields import flat_fields
from service.api.forms.final import FinalForm
from service.api.forms.identity import IdentityForm
from service.api.forms.portrait import PortraitForm
from service.api.replicate.catalogue import PublishedModels
from service.api.surfaces import SURFACES
from tests.service.clients import calling, one
from tests.service.harness import SELFIE, build_service, client_of

PATHS = {"owner": "tencentarc", "name": "photomaker", "prediction_id": "mine-1", "model_id": "fake", "version": None}


@pytest.fixture(scope="module")
async def document(anyio_backend):
    return (await one("GET", "/openapi.json")).json()


def test_every_route_of_the_application_is_in_it(document):
    app = build_service().app
    hidden = {"/metrics", "/docs", "/docs/errors", "/docs/style.css"}
    routes = {route.path_format for route in app.routes} - hidden
    assert {path for path in routes if not path.startswith("/schema")} == set(document["paths"])


def test_every_operation_has_a_name_a_group_and_an_answer_for_every_refusal(document):
    operations = [operation for ways in document["paths"].values() for operation in ways.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][A-Za-z]+", name) for name in ids), ids
    groups = {tag["name"] for tag in document["tags"]}
    assert all(set(operation["tags"]) <= groups for operation in operations)
    assert all({"404", "405", "500", "503"} <= set(operation["responses"]) for operation in operations)


async def test_every_reference_leads_somewhere(document):
    text = (await one("GET", "/openapi.json")).text
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert references <= set(document["components"]["schemas"])


def test_each_surface_documents_its_own_shape_of_a_refusal(document):
    def shape(path, method, status):
        return document["paths"][path][method]["responses"][status]["content"]

    problem = {"$ref": "#/components/schemas/Problem"}
    assert shape("/v1/predictions", "post", "422") == {"application/problem+json": {"schema": problem}}
    assert next(iter(shape("/v1/images/edits", "post", "400").values()))["schema"]["$ref"].endswith("OpenAIError")
    assert next(iter(shape("/predictions", "post", "422").values()))["schema"]["$ref"].endswith("CogError")


@pytest.mark.parametrize("model", ["tencentarc/photomaker", "zsxkib/instant-id", "proofsheet/portraits"])
async def test_input_is_that_of_the_model_at_the_root_as_cog_has_it(model):
    document = (await one("GET", "/openapi.json", service=build_service(cog_model=model))).json()
    schemas = document["components"]["schemas"]
    [published] = [one for one in PublishedModels() if one.id == model]
    assert schemas["Input"] == published.input_schema
    assert schemas["Output"]["type"] == "array"


async def test_both_addresses_give_the_same_document(document):
    assert (await one("GET", "/schema/openapi.json")).json() == document


def examples(document):
    """(method, path, media type, example, good statuses) of every body that has one."""
    for path, ways in document["paths"].items():
        for method, operation in ways.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if "example" in content:
                    good = [status for status in operation["responses"] if status.startswith("2")]
                    yield method, path, kind, content["example"], good


async def call(client, method, path, kind, example, identity):
    path = path.format(**PATHS)
    body = {name: identity if name == "identity" else value for name, value in example.items()}
    if kind == "application/json":
        return await client.request(method, path, json=body)
    is_file = {name: "selfie.jpg" in str(value) for name, value in body.items()}
    files = [(name, ("selfie.jpg", SELFIE, "image/jpeg")) for name, is_one in is_file.items() if is_one]
    data = {name: str(value) for name, value in body.items() if not is_file[name]}
    return await client.request(method, path, files=files, data=data)


async def test_every_example_works(document):
    """As it stands there, but for the selfie's bytes and for a token, which nobody can write down."""

    async with client_of(build_service()) as client:
        made = await client.post("/v1/identities", content=SELFIE, headers={"Content-Type": "image/jpeg"})
        identity = made.json()["identity"]
        answers = [
            (method, path, kind, (await call(client, method, path, kind, example, identity)), good)
            for method, path, kind, example, good in examples(document)
        ]
    assert len(answers) >= 10
    wrong = {
        (m, path, kind): answer.text for m, path, kind, answer, good in answers if str(answer.status_code) not in good
    }
    assert wrong == {}


async def test_the_page_shows_every_operation_and_loads_nothing_but_its_own_style(document):
    page, style = await calling(("GET", "/docs", {}), ("GET", "/docs/style.css", {}))
    assert page.headers["content-type"].startswith("text/html")
    for path, ways in document["paths"].items():
        assert path in page.text
        assert all(f'id="{operation["operationId"]}"' in page.text for operation in ways.values())
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text) == ["/docs/style.css", "/openapi.json"]
    assert "<script" not in page.text
    assert style.headers["content-type"].startswith("text/css")


async def test_only_the_page_may_load_anything_and_only_its_style():
    page, other = await calling(("GET", "/docs", {}), ("GET", "/v1/styles", {}))
    assert "style-src 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert other.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "form", "not_fields"),
    [
        ("/v1/portraits", PortraitForm, {"image", "pose"}),
        ("/v1/identities", IdentityForm, {"image"}),
        ("/v1/finals", FinalForm, set()),
    ],
)
def test_an_operation_has_every_field_of_its_form(document, path, form, not_fields):
    schema = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(schema["properties"]) - not_fields == set(flat_fields(form))


def test_every_route_belongs_to_one_surface():
    ids = [name for surface in SURFACES for name in surface.operation_ids]
    assert len(set(ids)) == len(ids)
    assert len({surface.name for surface in SURFACES}) == len(SURFACES)
    prefixes = [prefix for surface in SURFACES for prefix in surface.paths]
    assert len(set(prefixes)) == len(prefixes)


async def test_the_application_works_with_fewer_surfaces_than_all():
    [cog] = [surface for surface in SURFACES if surface.name == "Cog"]
    operation = SURFACES[-1]
    service = build_service(surfaces=(cog, operation))
    made, missing, document = await calling(
        ("POST", "/predictions", {"json": {"input": {}}}),
        ("GET", "/v1/styles", {}),
        ("GET", "/openapi.json", {}),
        service=service,
    )
    assert (made.status_code, missing.status_code) == (422, 404)
    assert [tag["name"] for tag in document.json()["tags"]] == ["Cog", "Operation"]
