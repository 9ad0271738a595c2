"""The OpenAPI document as a stranger's only guide: whatever it allows or forbids is sent, and nothing breaks.

A bounded run: every operation gets a few requests that keep to the document and a few that don't, the same each time.
"""

import asyncio
import threading
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from service.api.openapi.plugin import whole_document
from service.api.surfaces import SURFACES
from tests.service.harness import build_service, listening

load_all_checks()
EXAMPLES = 8  # of each kind, for each operation
CHECKED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]
SERVICE = build_service()
DOCUMENT = whole_document(SERVICE.app, SURFACES, SERVICE.settings)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {result.ok().definition.raw["operationId"]: result.ok() for result in SCHEMA.get_all_operations()}
KEPT_TO = [(name, GenerationMode.POSITIVE) for name in OPERATIONS]
BROKEN = [  # a path can't be wrong: any text is a name
    (name, GenerationMode.NEGATIVE) for name, one in OPERATIONS.items() if "requestBody" in one.definition.raw
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A front on a real port, in a thread of its own."""
    ready, ports, over = threading.Event(), [], []

    async def serve() -> None:
        async with listening(
            build_service(max_jobs=500, max_uploads=500, deadline_seconds=5, keep_alive_seconds=5)
        ) as port:
            stop = asyncio.Event()
            over.append((asyncio.get_running_loop(), stop))
            ports.append(port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{ports[0]}"
    loop, stop = over[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation_id", "mode"), [*KEPT_TO, *BROKEN], ids=lambda value: getattr(value, "value", value)
)
def test_no_request_ends_in_a_5xx_or_in_an_undocumented_answer(address, operation_id, mode):
    operation = OPERATIONS[operation_id]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        response = case.call(base_url=address, timeout=20)
        case.validate_response(response, checks=CHECKED)

    send()
