"""What every answer carries, the pages beside the portraits, and the walls around the front."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from typing import get_args

import pytest

from models.wire.groups import ImageFormat
from service.api.codes import codes
from service.jobs.sealing import Kind
from service.jobs.webhooks import Outcome
from service.logs import JsonLines
from tests.service.harness import JPEG, SELFIE, build_service, client_of


async def get(path, service=None, method="GET", **headers):
    async with client_of(service or build_service()) as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/portraits", 405, "method_not_allowed"),
        ("DELETE", "/v1/styles", 405, "method_not_allowed"),
        ("POST", "/v1/portraits", 415, "unsupported_media"),
    ],
)
async def test_every_refusal_is_problem_json(method, path, status, code):
    answer = await get(path, method=method)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert set(answer.json()) >= {"type", "title", "status", "code", "detail"}


@pytest.mark.parametrize("path", ["/livez", "/v1/styles", "/nowhere", "/metrics"])
async def test_every_answer_has_an_id_its_timing_and_safety_headers(path):
    answer = await get(path)
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
    assert re.search(r"total;dur=[\d.]+", answer.headers["server-timing"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


async def test_a_sane_request_id_is_honoured_and_another_is_replaced():
    assert (await get("/livez", **{"X-Request-Id": "abc-123_x.y"})).headers["x-request-id"] == "abc-123_x.y"
    assert (await get("/livez", **{"X-Request-Id": "a b" * 9})).headers["x-request-id"] != "a b" * 9


async def test_server_timing_names_the_stages_of_a_portrait():
    async with client_of(build_service()) as client:
        answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG)
    timing = answer.headers["server-timing"]
    names = [part.split(";")[0] for part in timing.split(", ")]
    expected = "upload decode_upload face identity text queue steps decode encode worker total"
    assert names == expected.split()


async def test_the_styles_page_lists_prompts_defaults_and_subjects():
    body = (await get("/v1/styles")).json()
    assert body["default"] == "corporate"
    assert "woman" in body["subjects"]
    assert len(body["styles"]) >= 12
    assert all("{subject}" in style["prompt"] for style in body["styles"])


async def test_the_models_page_names_the_licence_of_every_file():
    model = (await get("/v1/models")).json()["models"][0]
    assert model["device"] == "fake:0"
    assert model["bundle"]["name"] == "fake"
    assert model["bundle"]["default_sampler"] == "euler"
    assert model["bundle"]["files"][0]["licence"] == "Apache-2.0"


async def test_the_health_page_shows_the_workers():
    body = (await get("/health")).json()
    assert body["status"] == "ready"
    assert body["workers"] == [
        {"device": "fake:0", "state": "ready", "restarts": 0, "jobs": 0, "pid": None, "speed": None}
    ]


async def test_the_openapi_document_describes_the_upload_the_answers_and_the_problems():
    answer = await get("/schema/openapi.json")
    assert answer.status_code == 200
    operation = answer.json()["paths"]["/v1/portraits"]["post"]
    fields = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"image", "style", "prompt", "seed", "deadline"} <= set(fields)
    assert set(operation["responses"]["200"]["content"]) >= {"application/json", "text/event-stream", "image/jpeg"}
    assert "application/problem+json" in operation["responses"]["422"]["content"]
    schemas = answer.json()["components"]["schemas"]
    assert {"PortraitsAnswer", "Problem", "FaceReport", "TimingsAnswer"} <= set(schemas)
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.text))
    assert references <= set(schemas)


@pytest.mark.parametrize("path", ["/schema", "/schema/swagger", "/schema/redoc"])
async def test_no_page_that_loads_scripts_from_elsewhere_is_served(path):
    answer = await get(path)
    assert answer.status_code == 404 or "html" not in answer.headers["content-type"]


async def test_counters_are_on_the_page_at_zero_from_the_start_and_the_process_has_its_standard_names():
    async with client_of(build_service(devices=("cpu", "cpu")), warm=False) as client:
        page = await client.get("/metrics")
    lines = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
    at_zero = {name for name, value in lines.items() if float(value) == 0}
    assert {f'proofsheet_worker_restarts_total{{worker="{number}"}}' for number in (0, 1)} <= at_zero
    known = [code for meanings in codes().values() for code in meanings]
    assert {f'proofsheet_rejections_total{{reason="{code}"}}' for code in known} <= at_zero
    assert {f'proofsheet_webhooks_total{{outcome="{one}"}}' for one in get_args(Outcome)} <= at_zero
    assert {f'proofsheet_tokens_opened_total{{kind="{kind}"}}' for kind in get_args(Kind)} <= at_zero
    assert {f'proofsheet_finals_total{{format="{one}"}}' for one in get_args(ImageFormat)} <= at_zero
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
        assert float(lines[f"process_{name}"]) > 0


async def test_the_metrics_page_shows_a_jobs_way_and_the_workers_figures():
    service = build_service()

    async with client_of(service) as client:
        await client.post("/v1/portraits?n=2", content=SELFIE, headers=JPEG)
        await client.post("/v1/portraits?prompt=FAIL:no_face:caller", content=SELFIE, headers=JPEG)
        await client.get("/nowhere")
        await asyncio.sleep(0.1)
        page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    lines = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))
    expected = {
        'proofsheet_requests_total{outcome="ok",route="/v1/portraits"}': 1,
        'proofsheet_requests_total{outcome="caller_error",route="/v1/portraits"}': 1,
        'proofsheet_requests_total{outcome="caller_error",route="unmatched"}': 1,
        'proofsheet_rejections_total{reason="no_face"}': 1,
        'proofsheet_faces_total{verdict="ok"}': 1,
        'proofsheet_faces_total{verdict="no_face"}': 1,
        'proofsheet_images_total{format="jpeg"}': 2,
        "proofsheet_queue_wait_seconds_sum": 0.004,
        'proofsheet_stage_duration_seconds_sum{stage="steps"}': 0.005,
        'proofsheet_stage_duration_seconds_count{stage="upload"}': 2,
        'proofsheet_device_memory_bytes{kind="used",worker="0"}': 1000,
        'proofsheet_device_memory_bytes{kind="peak",worker="0"}': 2000,
        "proofsheet_ready": 1,
        "proofsheet_queue_depth": 0,
        "proofsheet_jobs_in_flight": 0,
    }
    assert {name: float(lines[name]) for name in expected} == expected
    assert float(lines['proofsheet_step_duration_seconds_count{bucket="4",rows="3"}']) >= 1
    assert "proofsheet_build_info{version=" in page.text
    assert "proofsheet_process_resident_memory_bytes" in page.text


async def test_two_fronts_in_one_process_share_no_counter():
    first, second = build_service(), build_service()
    await get("/livez", first)
    assert first.figure("requests_total", route="/livez", outcome="ok") == 1
    assert second.figure("requests_total", route="/livez", outcome="ok") == 0


async def test_a_bug_is_answered_500_and_logged_without_its_values(caplog):
    service = build_service()

    async def explode(*_):
        raise ValueError("the secret prompt")

    service.decoders.decode = explode

    async with client_of(service) as client:
        answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    text = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert "ValueError at test_surface.py" in text
    assert "secret" not in text


async def test_one_json_line_is_logged_per_request_and_nothing_of_the_caller_is_in_it(caplog):
    caplog.set_level(logging.INFO, logger="proofsheet")

    async with client_of(build_service()) as client:
        files = {"image": ("my-secret-name.jpg", SELFIE, "image/jpeg")}
        await client.post("/v1/portraits", files=files, data={"prompt": "my secret prompt"})
        await client.get("/livez")
        page = await client.get("/metrics")
    records = [record for record in caplog.records if record.name == "proofsheet.request"]
    assert len(records) == 1, "probes that succeed leave no line"
    line = json.loads(JsonLines().format(records[0]))
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/portraits", 200)
    assert line["outcome"] == "ok"
    assert line["ms"] > 0
    assert "secret" not in caplog.text
    assert "secret" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "prompt=secret&style=corporate",
        "prompt=secret%20FAIL:no_face:caller",
        "prompt=secret%20FAIL:nan_output:worker",
        "prompt=secret%20STALL&deadline=0.1",
        "prompt=secret&size=secret",
    ],
)
async def test_no_failure_leaves_a_prompt_in_a_log_or_a_metric(caplog, query):
    caplog.set_level(logging.DEBUG)

    async with client_of(build_service()) as client:
        answer = await client.post(f"/v1/portraits?{query}", content=SELFIE, headers=JPEG)
        page = await client.get("/metrics")
    ours = [JsonLines().format(record) for record in caplog.records if record.name.startswith("proofsheet")]
    assert answer.status_code >= 400
    assert ours
    assert "secret" not in "\n".join(ours) + page.text


def test_an_exception_is_logged_as_types_and_places():
    try:
        raise RuntimeError("a nose") from ValueError("a prompt")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", None, sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert line["exception"].startswith("RuntimeError at test_surface.py")
    assert "caused by ValueError" in line["exception"]
    assert "nose" not in line["exception"]


FORBIDDEN = ("torch", "numpy", "PIL", "diffusers", "transformers", "onnxruntime", "cv2", "pydantic")


def test_the_front_imports_nothing_that_computes():
    code = f"import service.__main__, sys; print([m for m in {FORBIDDEN!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_browser_too_gets_no_page_about_a_bug():
    service = build_service()

    async def explode(*_):
        raise ValueError("the secret prompt")

    service.decoders.decode = explode

    async with client_of(service) as client:
        answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | {"Accept": "text/html, */*;q=0.1"})
    assert service.app.debug is False
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "ValueError" not in answer.text
