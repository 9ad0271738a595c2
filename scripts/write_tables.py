"""Write the tables of the documents that come from the code, in place: settings and metrics.

    python scripts/write_tables.py

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A test fails while one differs from the code.
"""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from service.metrics import Metrics
from service.settings import Settings, describe_setting, env_key

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "service" / "README.md",)
PLACE = re.compile(r"(?<=<!-- table: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def settings() -> str:
    rows = ((f"`{env_key(name)}`", *described(name)) for name in Settings.names())
    return table(("setting", "default", "means"), rows)


def described(name: str) -> tuple[str, str]:
    """The default as one would write it, and the sentence."""
    sentence, default = describe_setting(name)
    text = {"True": "true", "False": "false", "none": "unset"}.get(default, default.removesuffix(".0"))
    return text if text == "unset" else f"`{text}`", sentence


def metrics() -> str:
    """All that the service counts itself, not what the client library says of the process."""
    collectors = [one for one in vars(Metrics()).values() if isinstance(one, Counter | Gauge | Histogram)]
    described = [family for one in collectors for family in one.describe()]
    rows = ((f"`{one.name}{'_total' * (one.type == 'counter')}`", one.type, one.documentation) for one in described)
    return table(("metric", "type", "means"), sorted(rows))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join("| " + " | ".join(line).replace("<", r"\<") + " |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {"settings": settings, "metrics": metrics}


def written(text: str) -> str:
    """The document with its tables as the code has them."""
    return PLACE.sub(lambda place: place[1] + place[2] + TABLES[place[1]](), text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(written(document.read_text()))
