"""The README keeps up with the code."""

import re
from pathlib import Path

from service.settings import Settings, env_key, load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def documented_settings() -> dict[str, str]:
    rows = re.findall(r"^\| `(PROOFSHEET_\w+)` \| (?:`([^`]*)`|unset) \|", README, re.MULTILINE)
    return dict(rows)


def test_the_settings_table_names_every_setting() -> None:
    assert documented_settings().keys() == {env_key(name) for name in Settings.names()}


def test_the_settings_table_states_the_defaults() -> None:
    assert load_settings(documented_settings()) == Settings()


def test_links_lead_to_files() -> None:
    links = list(re.findall(r"\]\(([^)#:]+)\)", README))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_it_names_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
