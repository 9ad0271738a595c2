"""One refusal, told as the surface tells it. Ours and Replicate's speak RFC 9457 as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROBLEM = "application/problem+json"
JSON = "application/json"
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RefusalShape:
    """How a surface tells a problem. `schema` is its name in the OpenAPI document, `headers` go by the status."""

    schema: str
    media_type: str
    tell: Callable[[Body], Body]
    headers: Callable[[int], dict[str, str]] = lambda status: {}


PROBLEM_SHAPE = RefusalShape("Problem", PROBLEM, lambda problem: problem)
