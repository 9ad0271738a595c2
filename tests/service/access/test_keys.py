"""API keys: the file, what is kept of a key, and which answer each wrong key gets."""

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access.key_file import (
    KeyEntry,
    KeysError,
    add_key,
    make_service_secret,
    parse_keys,
    read_service_secret,
    revoke_key,
)
from service.access.keys import Keys
from service.errors import Unauthorized
from service.watched_file import WatchedFile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = b"s" * 32


def entry(**fields: object) -> KeyEntry:
    return KeyEntry(**({"caller": "shop", "hash": "0" * 64, "scopes": frozenset({"preview"})} | fields))  # pyright: ignore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def keys_in(path: Path, now: datetime = NOW) -> Keys:
    return Keys(lambda: parse_keys(path.read_text()), SECRET, clock=lambda: now)


def code_of(keys: Keys, text: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        keys.identify(text)
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer realm="proofsheet", error="invalid_token"'
    assert text not in caught.value.message
    return caught.value.code


def test_a_made_key_names_its_caller_with_all_that_it_was_given(path: Path) -> None:
    given = entry(scopes=frozenset({"preview", "final"}), weight=2.5, images_per_minute=60, jobs_in_flight=8)
    caller = keys_in(path).identify(add_key(path, SECRET, given))
    assert (caller.id, caller.scopes, caller.weight) == ("shop", {"preview", "final"}, 2.5)
    assert (caller.limits.images_per_minute, caller.limits.jobs_in_flight) == (60, 8)


def test_the_file_holds_no_key_and_is_its_owners_alone(path: Path) -> None:
    key = add_key(path, SECRET, entry())
    key_id, secret = re.fullmatch(r"ps_([0-9a-z]{8})_(.{43})", key).groups()  # pyright: ignore
    text = path.read_text()
    assert f"[keys.{key_id}]" in text
    assert secret not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_keys_of_one_caller_both_work_so_that_a_key_can_be_replaced(path: Path) -> None:
    old, new = add_key(path, SECRET, entry()), add_key(path, SECRET, entry())
    callers = [keys_in(path).identify(key) for key in (old, new)]
    assert {caller.id for caller in callers} == {"shop"}
    assert len({caller.key_id for caller in callers}) == 2


def test_a_comment_and_other_keys_survive_adding_and_revoking(path: Path) -> None:
    path.write_text("# ours\n")
    keep, lose = add_key(path, SECRET, entry(caller="keep")), add_key(path, SECRET, entry(caller="lose"))
    revoke_key(path, lose.split("_")[1], NOW)
    assert path.read_text().startswith("# ours\n")
    assert keys_in(path).identify(keep).id == "keep"
    assert code_of(keys_in(path), lose) == "key_revoked"


def test_a_key_expires_at_its_moment(path: Path) -> None:
    key = add_key(path, SECRET, entry(not_after=NOW))
    assert keys_in(path, NOW - timedelta(seconds=1)).identify(key).id == "shop"
    assert code_of(keys_in(path, NOW), key) == "key_expired"


def test_a_wrong_secret_and_an_unknown_id_get_the_same_answer(path: Path) -> None:
    key = add_key(path, SECRET, entry(revoked=NOW))
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert code_of(keys_in(path), wrong) == code_of(keys_in(path), "ps_00000000_" + "A" * 43) == "key_unknown"


def test_a_hash_is_worth_nothing_under_another_service_secret(path: Path) -> None:
    key = add_key(path, SECRET, entry())
    assert code_of(Keys(lambda: parse_keys(path.read_text()), b"t" * 32), key) == "key_unknown"


def test_a_key_is_bound_to_its_id(path: Path) -> None:
    key = add_key(path, SECRET, entry())
    key_id = key.split("_")[1]
    path.write_text(path.read_text().replace(key_id, "00000000"))
    assert code_of(keys_in(path), key.replace(key_id, "00000000")) == "key_unknown"


@pytest.mark.parametrize("text", ["", "ps_", "sk-123", "ps_short_" + "A" * 43, "ps_00000000_" + "A" * 42, "ä" * 55])
def test_what_is_no_key_is_told_so(path: Path, text: str) -> None:
    add_key(path, SECRET, entry())
    with pytest.raises(Unauthorized, match="key_malformed"):
        keys_in(path).identify(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keys = 3", r"Expected `object`, got `int` - at `\$.keys`"),
        ("[keys.ABC]\ncaller='a'", "matching regex"),
        ("[keys.00000000]\ncaller='a b'\nhash='0'\nscopes=['preview']", "caller"),
        ("[keys.00000000]\ncaller='a'\nhash='" + "0" * 64 + "'\nscopes=['all']", "scopes"),
        ("[keys.00000000]\ncaller='a'\nhash='" + "0" * 64 + "'\nscopes=[]", "scopes"),
        ("[keys.00000000]\ncaller='a'\nhash='" + "0" * 64 + "'\nscopes=['final']\nquota=3", "quota"),
        ("[keys.00000000]\ncaller='a'\nhash='" + "0" * 64 + "'\nscopes=['final']\nnot_after=2027-01-01", "not_after"),
        ("[keys", "Expected ']'"),
    ],
    ids=["no table", "id", "caller", "scope", "no scope", "unknown", "no time zone", "no toml"],
)
def test_a_wrong_file_is_refused_with_the_place_of_the_error(text: str, says: str) -> None:
    with pytest.raises(KeysError, match=says):
        parse_keys(text)


def test_an_unknown_key_is_not_revoked_in_silence(path: Path) -> None:
    add_key(path, SECRET, entry())
    with pytest.raises(KeysError, match="there is no key 'ffffffff'"):
        revoke_key(path, "ffffffff", NOW)


def test_a_key_in_a_table_of_many_is_left_for_a_person_to_revoke(path: Path) -> None:
    inline = "{caller='a', hash='" + "0" * 64 + "', scopes=['final']}"
    path.write_text(f"[keys]\n00000000 = {inline}\n")
    with pytest.raises(KeysError, match="by hand"):
        revoke_key(path, "00000000", NOW)


def test_the_service_secret_is_made_once_and_a_short_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.secret"
    assert make_service_secret(path) == make_service_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    with pytest.raises(KeysError, match="5 bytes; wanted 32"):
        read_service_secret(path)


def test_secrets_for_other_purposes_differ_and_are_not_the_hash_key(path: Path) -> None:
    keys = Keys(dict, SECRET)
    assert len({keys.derive_secret("webhooks"), keys.derive_secret("other"), SECRET}) == 3


# ---- a file that changes while the service runs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_is_taken_up_within_a_second(path: Path) -> None:
    clock = Clock()
    first = add_key(path, SECRET, entry())
    keys = Keys(WatchedFile(path, parse_keys, clock=clock).current, SECRET, clock=lambda: NOW)
    second = add_key(path, SECRET, entry(caller="other"))
    revoke_key(path, first.split("_")[1], NOW)
    clock.now = 0.99
    assert keys.identify(first).id == "shop"
    clock.now = 1.0
    assert keys.identify(second).id == "other"
    assert code_of(keys, first) == "key_revoked"


@pytest.mark.parametrize("damage", ["[keys", b"\xff\xfe", None], ids=["no toml", "no text", "gone"])
def test_a_broken_change_leaves_the_old_keys_and_a_log_line(
    path: Path, damage: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    key = add_key(path, SECRET, entry())
    good = path.read_text()
    watched = WatchedFile(path, parse_keys, clock=clock)
    keys = Keys(watched.current, SECRET, clock=lambda: NOW)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage.encode() if isinstance(damage, str) else damage)
    for _ in range(3):
        clock.now += 1
        assert keys.identify(key).id == "shop"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    path.write_text(good + "# mended\n")
    clock.now += 1
    assert keys.identify(key).id == "shop"
