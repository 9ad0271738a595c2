"""Every code that the sources can answer with is told at /docs/errors, and nothing that they can't."""

import ast
import html
from collections.abc import Iterator
from pathlib import Path

import models
import service
from service.api.codes import codes
from service.api.openapi.statuses import STATUSES
from service.api.problems import HTTP_CODES
from service.errors import ServiceError
from tests.service.clients import one
from tests.service.form_corpus import FORMS

ERRORS = {kind.__name__: kind.status for kind in ServiceError.__subclasses__()}
# What else is called with a code, and as which of its arguments.
TAKERS = dict.fromkeys(ERRORS, 0) | {
    "refusal": 0,
    "_refusal": 1,
    "refuse": 2,
    "Refused": 0,
    "Refusal": 0,
    "_Fault": 0,
    "_failure": 1,
    "_require": 2,
    "fail": 0,
    "Failed": 1,
    "IdentityRefused": 0,
    "TriggerError": 0,
    "PromptSyntaxError": 0,
}
# What is put together or chosen before it is raised, so that no call shows it.
BUILT = {
    *("proof_wrong_bundle", "key_expired", "key_revoked", "n_too_large", "steps_too_large", "unknown_subject"),
    *("body_too_large", "decoders_busy", "decoders_stopped", "input_unsupported"),
}


def test_every_code_of_the_sources_is_listed():
    listed = {code for meanings in codes().values() for code in meanings}
    found = {code for _, code in written()}
    assert len(found) > 90
    assert found - listed == set()
    assert {(str(status), code) for status, (code, _) in HTTP_CODES.items()} <= set(pairs())


def test_every_listed_code_is_one_of_the_sources():
    known = {code for _, code in written()} | {code for code, _ in HTTP_CODES.values()} | BUILT
    assert {code for _, code in pairs()} - known == set()


def test_a_code_is_listed_under_the_status_of_its_error():
    strays = {(str(ERRORS[name]), code) for name, code in written() if name in ERRORS} - set(pairs())
    assert strays == set()


def test_what_hostile_forms_are_refused_with_is_listed_under_its_status():
    expected = {(str(form.expect.status), code) for form in FORMS for code in form.expect.codes}
    assert len(expected) > 10
    assert expected <= set(pairs())


def test_every_code_has_one_status_and_a_sentence_and_is_found_by_the_alphabet():
    every = [code for _, code in pairs()]
    assert len(every) == len(set(every))
    assert list(codes()) == sorted(STATUSES)
    for meanings in codes().values():
        assert list(meanings) == sorted(meanings)
        assert all(meaning.endswith(".") for meaning in meanings.values())


async def test_the_address_in_a_problem_leads_to_its_own_code():
    where = await one("POST", "/v1/portraits?styel=corporate", content=b"x", headers={"content-type": "image/jpeg"})
    page, _, code = where.json()["type"].partition("#")
    assert code == "unknown_field"
    answer = await one("GET", page)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert f'<tr id="{code}">' in answer.text
    assert html.escape(codes()["400"][code]) in answer.text


def pairs() -> Iterator[tuple[str, str]]:
    return ((status, code) for status, meanings in codes().items() for code in meanings)


def written() -> Iterator[tuple[str, str]]:
    """Every code that is written out in a call, with the name of what is called."""
    for package in (service, models):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and (name := name_of(node.func)) in TAKERS:
                    code = next((k.value for k in node.keywords if k.arg == "code"), None)
                    given = [code] if code else node.args[TAKERS[name] :][:1]
                    yield from ((name, one.value) for one in given if isinstance(one, ast.Constant))


def name_of(called: ast.expr) -> str:
    """Of `BadRequest.of_field(...)` the error."""
    if isinstance(called, ast.Attribute) and called.attr == "of_field":
        called = called.value
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
