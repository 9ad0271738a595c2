"""Tokens that callers keep for us: what opens, what does not, and what an answer gives away."""

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadRequest, Forbidden, ServiceError
from service.jobs.sealing import MAX_TOKEN_CHARS, Sealer, SealingKeysError, parse_keyring

PAYLOAD = b"an encoded identity"


class WallClock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def sealer_of(*lines: str, clock: WallClock | None = None) -> Sealer:
    keyring = parse_keyring("\n".join(lines))
    return Sealer(lambda: keyring, clock=clock or WallClock())


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def refusal(sealer: Sealer, token: str, kind: str = "identity", caller: str = "shop") -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        sealer.open(kind, token, caller)  # pyright: ignore[reportArgumentType]
    assert caught.value.extra == {"field": kind}
    assert caught.value.value is None
    assert len(token) < 20 or token not in caught.value.message
    return caught.value


@pytest.mark.parametrize("payload", [b"", PAYLOAD, os.urandom(100_000)])
def test_a_sealed_payload_opens_for_its_caller(payload: bytes) -> None:
    sealer = Sealer.with_random_key()
    assert sealer.open("identity", sealer.seal("identity", payload, "shop", 60), "shop") == payload


def test_a_token_is_url_safe_text_that_says_its_kind_and_hides_the_rest() -> None:
    sealer = Sealer.with_random_key()
    token = sealer.seal("proof", PAYLOAD, "shop", 60)
    kind, _, box = token.partition(".")
    assert kind == "proof"
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in box)
    raw = base64.urlsafe_b64decode(box + "=" * (-len(box) % 4))
    assert PAYLOAD not in raw
    assert b"shop" not in raw
    assert len(raw) - len(PAYLOAD) <= 50


def test_two_tokens_of_one_payload_have_nothing_in_common() -> None:
    sealer = Sealer.with_random_key()
    assert sealer.seal("proof", PAYLOAD, "shop", 60) != sealer.seal("proof", PAYLOAD, "shop", 60)


def test_a_token_expires_to_the_second_and_not_before() -> None:
    clock = WallClock()
    sealer = sealer_of(new_key(), clock=clock)
    token = sealer.seal("identity", PAYLOAD, "shop", 60)
    clock.now += 59.9
    assert sealer.open("identity", token, "shop") == PAYLOAD
    clock.now += 12.1
    error = refusal(sealer, token)
    assert error.code == "token_expired"
    assert error.status == 400
    assert "12 s ago" in error.message


def test_a_fraction_of_a_second_never_shortens_a_lifetime() -> None:
    clock = WallClock()
    clock.now += 0.9
    sealer = sealer_of(new_key(), clock=clock)
    token = sealer.seal("identity", PAYLOAD, "shop", 1)
    clock.now += 0.99
    assert sealer.open("identity", token, "shop") == PAYLOAD


def test_another_callers_token_is_foreign_and_names_nobody() -> None:
    sealer = Sealer.with_random_key()
    error = refusal(sealer, sealer.seal("identity", PAYLOAD, "rival", 60))
    assert isinstance(error, Forbidden)
    assert error.code == "token_foreign"
    assert "rival" not in error.message


def test_an_expired_foreign_token_is_called_foreign_so_that_its_age_stays_unknown() -> None:
    clock = WallClock()
    sealer = sealer_of(new_key(), clock=clock)
    token = sealer.seal("identity", PAYLOAD, "rival", 60)
    clock.now += 120
    assert refusal(sealer, token).code == "token_foreign"


def test_a_foreign_token_that_was_touched_is_only_called_tampered() -> None:
    sealer = Sealer.with_random_key()
    token = sealer.seal("identity", PAYLOAD, "rival", 60)
    assert refusal(sealer, with_bit_flipped(token, byte=30)).code == "token_tampered"


def test_a_token_of_another_kind_is_named_as_such() -> None:
    sealer = Sealer.with_random_key()
    error = refusal(sealer, sealer.seal("proof", PAYLOAD, "shop", 60))
    assert error.code == "token_wrong_kind"


def test_a_token_whose_kind_was_rewritten_does_not_open() -> None:
    sealer = Sealer.with_random_key()
    token = sealer.seal("proof", PAYLOAD, "shop", 60).replace("proof.", "identity.")
    assert refusal(sealer, token).code == "token_tampered"


def with_bit_flipped(token: str, byte: int) -> str:
    kind, _, text = token.partition(".")
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[byte] ^= 1
    return f"{kind}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"


def test_every_flipped_bit_behind_the_key_id_is_tampering() -> None:
    sealer = Sealer.with_random_key()
    token = sealer.seal("identity", b"x", "shop", 60)
    raw_length = len(token.partition(".")[2]) * 3 // 4
    codes = [refusal(sealer, with_bit_flipped(token, byte)).code for byte in range(raw_length)]
    assert set(codes[:4]) == {"token_unknown_key"}
    assert set(codes[4:]) == {"token_tampered"}


@given(place=st.integers(0, 10_000), letter=st.characters())
@settings(max_examples=200, deadline=None)
def test_no_changed_character_goes_unnoticed(place: int, letter: str) -> None:
    sealer = Sealer.with_random_key()
    token = sealer.seal("identity", PAYLOAD, "shop", 60)
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        assert refusal(sealer, changed).code.startswith("token_")


def test_a_token_has_one_way_to_be_written() -> None:
    """Base64 has more: its last letter may carry bits that nobody reads, and there are two alphabets."""
    sealer = Sealer.with_random_key()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = next(
        token
        for token in (sealer.seal("identity", b"x" * length, "shop", 60) for length in range(1000))
        if len(token.partition(".")[2]) % 4 == 2 and "-" in token
    )
    other_bits = token[:-1] + letters[letters.index(token[-1]) ^ 1]
    assert refusal(sealer, other_bits).code == "token_malformed"
    assert refusal(sealer, token.replace("-", "+")).code == "token_malformed"


@given(text=st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_as_malformed(text: str) -> None:
    error = refusal(Sealer.with_random_key(), text or " ")
    assert isinstance(error, BadRequest)
    assert error.code == "token_malformed"


@pytest.mark.parametrize(
    "token",
    ["identity", "identity.", "identity.AAAA", "identity.ä", "identity.a b", "identity." + "A" * MAX_TOKEN_CHARS],
    ids=["no dot", "empty", "short", "no ascii", "space", "huge"],
)
def test_a_token_that_is_none_is_malformed(token: str) -> None:
    assert refusal(Sealer.with_random_key(), token).code == "token_malformed"


def test_after_a_rotation_old_tokens_open_and_new_ones_use_the_new_key() -> None:
    old, new = new_key(), new_key()
    before, during, after = sealer_of(old), sealer_of(new, old), sealer_of(new)
    old_token = before.seal("identity", PAYLOAD, "shop", 60)
    new_token = during.seal("identity", PAYLOAD, "shop", 60)
    assert during.open("identity", old_token, "shop") == PAYLOAD
    assert after.open("identity", new_token, "shop") == PAYLOAD
    assert refusal(after, old_token).code == "token_unknown_key"


def test_a_random_keys_tokens_die_with_the_process() -> None:
    token = Sealer.with_random_key().seal("identity", PAYLOAD, "shop", 60)
    assert refusal(Sealer.with_random_key(), token).code == "token_unknown_key"


def test_a_key_file_may_hold_comments_and_both_alphabets() -> None:
    secret = bytes([0xFB, 0xFF] * 16)
    standard, url_safe = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()
    first, second = parse_keyring(f"# new\n{standard}\n\n{url_safe}\n")
    assert first.id == second.id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no key"),
        ("# nothing\n", "no key"),
        ("!!!", "line 1 is no base64"),
        ("\nAAAA", "line 2 holds a key of 3 bytes"),
    ],
)
def test_a_wrong_key_file_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(SealingKeysError, match=says):
        parse_keyring(text)


def test_no_key_and_no_payload_is_ever_shown() -> None:
    text = new_key()
    shown = repr(parse_keyring(text))
    assert text not in shown
    assert "cipher" not in shown
