"""A refusal as the `openai` client reads it."""

from service.api.refusals import JSON, PROBLEM, Body, RefusalShape

OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
RETRY_HELPS = frozenset({408, 429, 503})  # what happened was about the moment, not about the request


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


OPENAI_SHAPE = RefusalShape("OpenAIError", JSON, openai_error, should_retry)
SHAPE_FOR_ALL_CLIENTS = RefusalShape("Problem", PROBLEM, lambda problem: problem | openai_error(problem), should_retry)
