"""The documents keep up with the code: their links, names, tables and commands are held against it."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import click
import msgspec
import pytest

from models.adapters.registry import RegisteredSpec
from models.engine.plan import Process
from models.engine.rectified_flow import RectifiedFlow
from models.engine.variance_preserving import VariancePreserving
from models.weights.manifest import BundleSpec, Repository, read_manifest
from scripts.write_tables import DOCUMENTS, written
from service.__main__ import main
from service.api.codes import codes
from service.api.forms.fields import flat_fields
from service.api.forms.portrait import PortraitForm
from service.metrics import Metrics
from service.settings import Settings, env_key, load_settings
from service.styles import load_styles
from tests.service.clients import one

ROOT = Path(__file__).parents[1]
FOLDERS = ("service", "models", "scripts", "loadtest", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
MODULES = [str(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
DECISIONS = [path for path in PAGES if path.name == "DECISIONS.md"]
WHERE_READERS_STAND = ("service", "service/api", "models", "models/weights", "scripts", "loadtest")
OPERATING = (ROOT / "service" / "README.md").read_text()
FRONT_PAGE = (ROOT / "README.md").read_text()
COMPUTING = (ROOT / "models" / "README.md").read_text()
WEIGHTS = (ROOT / "models" / "weights" / "README.md").read_text()
CALLING = (ROOT / "service" / "api" / "README.md").read_text()
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def first_column(text: str, head: str) -> list[str]:
    """The cells under `head`, in the table that begins with it."""
    rows = text.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows, head
    return [row.split("|")[1] for row in rows]


def test_the_front_page_stays_one() -> None:
    assert (ROOT / "README.md").stat().st_size <= 14_000


@pytest.mark.parametrize("folder", WHERE_READERS_STAND)
def test_a_folder_says_in_a_sentence_what_lies_in_it(folder: str) -> None:
    title, first, _ = (ROOT / folder / "README.md").read_text().split("\n\n", 2)
    assert title.startswith("# ")
    assert first.endswith(".")


@by_name
def test_no_figure_was_taken_by_hand(page: Path) -> None:
    assert "by hand" not in " ".join(page.read_text().split())


@by_name
def test_links_lead_to_files_and_to_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text())
    targets = [(page.parent / link if link else page, heading) for link, heading in links]
    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [heading for path, heading in targets if heading and heading not in headings(path)] == []


@cache
def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@by_name
def test_files_that_it_names_exist(page: Path) -> None:
    """Paths from the root anywhere, and in code also the ends of a module's path."""
    text = page.read_text()
    named = re.findall(r"\b(?:service|models|scripts|loadtest|tests)/[\w/.]*\w\.(?:py|toml|jpg|md)\b", text)
    modules = re.findall(r"`([\w/]+\.py)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [name for name in modules if not any(path.endswith(f"/{name}") for path in MODULES)] == []


@pytest.mark.parametrize("folder", ["scripts", "loadtest"])
def test_every_script_is_named_where_scripts_are_described(folder: str) -> None:
    runnable = [path for path in (ROOT / folder).glob("*.py") if '__name__ == "__main__"' in path.read_text()]
    page = (ROOT / folder / "README.md").read_text()
    assert runnable
    assert [path.name for path in runnable if path.stem not in page] == []


@by_name
def test_modules_that_it_runs_exist(page: Path) -> None:
    named = re.findall(r"python -m ((?:scripts|loadtest|service|models)[\w.]*\w)", page.read_text())
    paths = [ROOT / name.replace(".", "/") for name in named]
    assert [
        str(path) for path in paths if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())
    ] == []


@by_name
def test_make_targets_that_it_names_exist(page: Path) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)(?=[ `\n]*(?:`|$|#|[A-Z]+=))", page.read_text(), re.MULTILINE))
    assert named <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@by_name
def test_commands_that_it_shows_are_understood(page: Path) -> None:
    """Those of the command line in fenced blocks and between backticks, up to a shell's own signs."""
    shown = re.findall(r"(?:^|`|bin/| proofsheet )proofsheet ([a-z][^`\n|>]*)", page.read_text(), re.MULTILINE)
    assert [line for line in shown if not is_understood(shlex.split(line, comments=True))] == []


def is_understood(words: list[str]) -> bool:
    command: click.Command = main
    while words and isinstance(command, click.Group) and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    return command is not main and {word for word in words if word.startswith("-")} <= known


async def test_routes_that_they_name_exist() -> None:
    paths = (await one("GET", "/openapi.json")).json()["paths"]
    routes = {f"{way.upper()} {re.sub(r'{.*?}', '{}', path)}" for path, ways in paths.items() for way in ways}
    shown = [re.findall(r"`((?:GET|POST|PUT|DELETE) /[\w/{}.-]*)`", page.read_text()) for page in PAGES]
    named = {re.sub(r"{.*?}", "{}", route) for routes_of_page in shown for route in routes_of_page}
    assert len(named) > 10
    assert named <= routes


@by_name
def test_settings_and_metrics_that_it_names_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"\bPROOFSHEET_[A-Z0-9_]*[A-Z0-9]\b", text)) <= {env_key(name) for name in Settings.names()}
    known = Metrics().page().decode()
    assert [name for name in re.findall(r"\bproofsheet_[a-z_]*[a-z]\b", text) if name not in known] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_that_are_written_by_the_script_are_as_it_writes_them(page: Path) -> None:
    assert page.read_text() == written(page.read_text()), "run `python scripts/write_tables.py`"


def test_the_settings_table_can_be_read_back() -> None:
    rows = re.findall(r"^\| `(PROOFSHEET_\w+)` \| (?:`([^`]*)`|unset) \|", OPERATING, re.MULTILINE)
    assert dict(rows).keys() == {env_key(name) for name in Settings.names()}
    assert load_settings(dict(rows)) == Settings()


def test_the_table_of_fields_has_every_field_of_the_form() -> None:
    documented = re.findall(r"`(\w+)`", " ".join(first_column(CALLING, "field")))
    photos = [photo.name for photo in PortraitForm.photos[1:]]  # the selfies are shown before
    assert sorted(documented) == sorted([*flat_fields(PortraitForm), *photos])


def test_the_table_of_errors_has_every_status() -> None:
    documented = re.findall(r"\d{3}", " ".join(first_column(CALLING, "status")))
    assert sorted(documented) == sorted(codes())


def test_codes_that_the_interface_names_have_a_meaning() -> None:
    known = {code: status for status, meanings in codes().items() for code in meanings}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\d{3}) \|", CALLING, re.MULTILINE)
    assert rows
    for named, status in rows:
        assert {known.get(code) for code in re.findall(r"\w+", named)} == {status}


@pytest.mark.parametrize(
    ("head", "process"), [("`sampler`", VariancePreserving()), ("rectified flow", RectifiedFlow())]
)
def test_the_tables_of_samplers_have_every_sampler(head: str, process: Process) -> None:
    assert re.findall(r"`([\w-]+)`", " ".join(first_column(COMPUTING, head))) == list(process.samplers)


def test_the_table_of_adapters_has_every_adapter() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(RegisteredSpec)]
    assert re.findall(r"`([\w-]+)`", " ".join(first_column(COMPUTING, "adapter"))) == tags


def test_the_manifest_entries_shown_are_such_as_a_manifest_has() -> None:
    shown = [tomllib.loads(code)["bundles"] for code in re.findall(r"^```toml\n(.*?)^```$", COMPUTING, re.M | re.S)]
    bundles = [bundle for entry in shown for bundle in entry.values()]
    fields = get_type_hints(BundleSpec, include_extras=True)
    values = [(name, value) for bundle in bundles for name, value in bundle.items()]
    assert {name for name, _ in values} >= {"adapters", "style_loras"}
    for name, value in values:
        msgspec.convert(value, fields[name])


def test_the_style_shown_is_one(tmp_path: Path) -> None:
    [code] = re.findall(r"^```toml\n(\[\[style\]\].*?)^```$", FRONT_PAGE, re.M | re.S)
    (tmp_path / "styles.toml").write_text(code)
    assert load_styles(tmp_path / "styles.toml", default="rainy-day")


def test_the_table_of_profiles_has_every_bundle() -> None:
    bundles = read_manifest().bundles
    assert re.findall(r"`([\w-]+)`", " ".join(first_column(WEIGHTS, "profile"))) == list(bundles)
    assert re.findall(r"`([\w-]+)`", " ".join(first_column(FRONT_PAGE, "profile"))) == list(bundles)


@pytest.mark.parametrize(
    "published", [one for one in read_manifest().repositories if one.source == "hub"], ids=lambda one: one.repo
)
def test_the_table_of_licences_says_of_a_repository_what_the_manifest_says(published: Repository) -> None:
    [(licence, use)] = re.findall(rf"^\|[^|]*\| `{published.repo}` \| ([^|]*) \| ([^|]*) \|", WEIGHTS, re.MULTILINE)
    assert licence.startswith(published.licence)
    assert use.startswith("**no**" if published.commercial == "no" else "yes")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_decisions_are_dated_short_and_newest_first(page: Path) -> None:
    found = re.findall(r"^## (\d{4}-\d\d-\d\d): \S.*\n\n((?:.+\n)+)", page.read_text(), re.MULTILINE)
    assert len(found) == page.read_text().count("\n## ")
    dates = [date for date, _ in found]
    assert dates == sorted(dates, reverse=True)
    assert [body for _, body in found if len(body.splitlines()) > 9] == []
