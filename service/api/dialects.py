"""One refusal, told as the surface at its path tells it.

Ours and Replicate's surfaces speak RFC 9457 as it is. OpenAI's has its own object, Cog's a list of places. The choice
goes by the path alone, so that what is refused before a route is found (401, 404, 405) has the right shape as well.
"""

from typing import Any

PROBLEM = "application/problem+json"
JSON = "application/json"
Body = dict[str, Any]

OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
RETRY_HELPS = frozenset({408, 429, 503})  # what happened was about the moment, not about the request


def in_dialect(path: str, problem: Body) -> tuple[Body, str, dict[str, str]]:
    """A problem's body, media type and further headers at this path."""
    if path.startswith("/v1/images/"):
        return openai_error(problem), JSON, should_retry(problem["status"])
    if path == "/v1/models" or path.startswith("/v1/models/"):  # asked by all three kinds of client
        return problem | openai_error(problem), PROBLEM, should_retry(problem["status"])
    if path == "/predictions" or path.startswith("/predictions/"):
        return cog_error(problem), JSON, {}
    return problem, PROBLEM, {}


def openai_error(problem: Body) -> Body:
    """`{"error": {message, type, param, code}}`, with what we know beyond it inside as well."""
    status = problem["status"]
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "message": problem["detail"],
        "type": OPENAI_TYPES.get(status, fallback),
        "param": problem.get("field"),
        "code": problem["code"],
    }
    told = ("type", "title", "status", "code", "detail", "field")
    return {"error": error | {name: value for name, value in problem.items() if name not in told}}


def should_retry(status: int) -> dict[str, str]:
    """The `openai` client retries every 409, 429 and 5xx twice unless told: mostly GPU time for the same answer."""
    return {"x-should-retry": "true" if status in RETRY_HELPS else "false"}


def cog_error(problem: Body) -> Body:
    """Cog lists the places of invalid input; anything else has one sentence."""
    if problem["status"] == 422:
        place = ["body", "input", problem["field"]] if "field" in problem else ["body", "input"]
        return {"detail": [{"loc": place, "msg": problem["detail"], "type": problem["code"]}]}
    return {"detail": problem["detail"], "code": problem["code"], "error": problem["detail"], "status": "failed"}
