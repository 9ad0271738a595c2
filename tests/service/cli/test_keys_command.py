"""`proofsheet keys` and `proofsheet serve` with keys, as an operator meets them."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from service.__main__ import main
from service.access.key_file import parse_keys
from service.settings import Settings, refuse_open_network
from tests.service.test_server import front_process, read_address


def proofsheet(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="proofsheet")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "keys.toml")


def test_add_prints_the_key_once_and_keeps_what_was_asked(path: str) -> None:
    asked = ["--scope", "preview", "--scope", "final", "--images-per-minute", "60", "--jobs-in-flight", "4"]
    done = proofsheet("keys", "add", "shop", "--keys", path, *asked, "--weight", "2", "--days", "30")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"ps_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert "only time" in done.stderr
    ((key_id, entry),) = parse_keys(Path(path).read_text()).items()
    assert done.stdout.startswith(f"ps_{key_id}_")
    assert (entry.caller, entry.scopes, entry.weight) == ("shop", {"preview", "final"}, 2)
    assert (entry.images_per_minute, entry.jobs_in_flight) == (60, 4)
    assert entry.not_after is not None
    assert timedelta(days=29) < entry.not_after - datetime.now(UTC) <= timedelta(days=30)


def test_list_and_revoke_show_every_key_and_never_a_secret(path: str) -> None:
    keys = [proofsheet("keys", "add", name, "--keys", path).stdout.strip() for name in ("shop", "page")]
    key_id = keys[0].split("_")[1]
    assert proofsheet("keys", "revoke", key_id, "--keys", path).stdout == f"{key_id} of shop is revoked\n"
    lines = proofsheet("keys", "list", "--keys", path).stdout.splitlines()
    assert [line.split()[:4] for line in lines] == [
        [key_id, "revoked", "shop", "preview"],
        [keys[1].split("_")[1], "active", "page", "preview"],
    ]
    assert not any(key.split("_", 2)[2] in line for key in keys for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "shop"], "say which file holds the keys: --keys FILE, or PROOFSHEET_KEYS"),
        (
            ["add", "two words", "--keys", "PATH"],
            "caller 'two words': wanted 1 to 64 letters, digits",
        ),
        (["add", "shop", "--keys", "PATH", "--weight", "0"], "weight"),
        (["add", "shop", "--keys", "PATH", "--images-per-minute", "-3"], "images_per_minute"),
        (["add", "shop", "--keys", "PATH", "--scope", "all"], "'all' is not one of 'admin', 'final', 'preview'"),
        (["add", "shop", "--keys", "/no/such/folder/keys.toml"], "No such file or directory"),
        (["list", "--keys", "PATH"], "No such file or directory"),
        (["revoke", "00000000", "--keys", "PATH"], "No such file or directory"),
    ],
)
def test_a_wrong_wish_is_refused_with_a_sentence(path: str, arguments: list[str], says: str) -> None:
    done = proofsheet("keys", *[path if word == "PATH" else word for word in arguments])
    assert done.exit_code != 0
    assert says in done.stderr
    assert not Path(path).exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "somewhere.example"])
def test_without_keys_the_service_does_not_listen_to_other_machines(host: str) -> None:
    done = proofsheet("serve", "--host", host)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: PROOFSHEET_HOST={host}: without API keys only this machine may reach")
    assert "--insecure" in done.stderr


@pytest.mark.parametrize(
    "chosen",
    [
        {"host": "0.0.0.0", "insecure": True},
        {"host": "0.0.0.0", "keys": "keys.toml"},
        {"host": "127.0.0.9"},
        {"host": "::1"},
        {"host": "localhost"},
    ],
)
def test_with_keys_or_on_this_machine_or_when_told_so_it_may_listen(chosen: dict[str, Any]) -> None:
    refuse_open_network(Settings(**chosen))


@pytest.mark.parametrize(
    ("flag", "content", "says"),
    [
        ("--keys", None, "keys.toml: No such file or directory; `proofsheet keys add` makes"),
        ("--keys", "keys = 3", "can't be used: Expected `object`"),
        ("--sealing-keys", None, "can't read the sealing keys"),
        ("--sealing-keys", "short", "line 1"),
        ("--cors-origins", "https://*.shop.example", "'https://*.shop.example' is no origin"),
    ],
)
def test_wrong_secrets_end_the_start_with_a_sentence(path: str, flag: str, content: str | None, says: str) -> None:
    Path(path + ".secret").write_text("s" * 64)
    if content is not None:
        Path(path).write_text(content)
    done = proofsheet("serve", flag, content or "" if flag == "--cors-origins" else path)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_running_service_takes_up_new_and_revoked_keys(tmp_path: Path, path: str) -> None:
    first = proofsheet("keys", "add", "shop", "--keys", path).stdout.strip()
    arguments = ("--keys", path, "--host", "127.0.0.1")
    with front_process(tmp_path, *arguments) as (process, _), httpx.Client(base_url=read_address(process)) as client:

        def status(key: str) -> int:
            return client.get("/v1/styles", headers={"Authorization": f"Bearer {key}"}).status_code

        def becomes(key: str, wanted: int) -> bool:
            for _ in range(100):  # seldom: nobody reads the log, and a full pipe would stop the service
                if status(key) == wanted:
                    return True
                time.sleep(0.05)
            return False

        assert client.get("/v1/styles").status_code == 401
        assert status(first) == 200
        second = proofsheet("keys", "add", "shop", "--keys", path).stdout.strip()
        assert proofsheet("keys", "revoke", first.split("_")[1], "--keys", path).exit_code == 0
        assert becomes(first, 401)
        assert becomes(second, 200)
