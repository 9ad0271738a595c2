"""The OpenAPI document tells of keys exactly where the guard asks for one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.service.access.test_guard import Locked
from tests.service.harness import client_of


@pytest.fixture(scope="module")
async def answers(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], tuple[Any, int]]:
    """Every operation of the document, and what a caller without a key gets there."""
    folder: Path = tmp_path_factory.mktemp("keys")
    async with client_of(Locked(folder).service) as client:
        document = json.loads((await client.get("/schema/openapi.json")).content)
        assert document["components"]["securitySchemes"].keys() == {"bearer", "apiKey"}
        found: dict[tuple[str, str], tuple[Any, int]] = {}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answer = await client.request(method, re.sub(r"\{\w+\}", "x", path))
                found[(method, path)] = (operation, answer.status_code)
        return found


def test_an_operation_asks_for_a_key_in_the_document_if_it_does_so_over_http(
    answers: dict[tuple[str, str], tuple[Any, int]],
) -> None:
    asking = {which for which, (_, status) in answers.items() if status == 401}
    assert asking == {which for which, (operation, _) in answers.items() if "security" in operation}
    assert ("get", "/livez") not in asking
    assert {("post", "/v1/portraits"), ("get", "/metrics"), ("get", "/health")} & answers.keys() <= asking


def test_what_asks_for_a_key_documents_its_refusals(answers: dict[tuple[str, str], tuple[Any, int]]) -> None:
    for (method, path), (operation, _) in answers.items():
        if "security" in operation:
            wanted = {"401", "403"} | ({"429"} if method in ("post", "put") else set())
            assert wanted <= operation["responses"].keys(), (method, path)
