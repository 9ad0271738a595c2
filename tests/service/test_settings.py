"""Settings: read once, typed, and every mistake named."""

import pytest

from service.settings import Settings, SettingsError, describe_setting, load_settings


def test_without_an_environment_the_defaults_hold():
    assert load_settings({"PATH": "/bin"}) == Settings()


def test_values_are_read_as_their_types():
    environ = {
        "PROOFSHEET_PORT": "0",
        "PROOFSHEET_HEIC": "false",
        "PROOFSHEET_DEADLINE_SECONDS": "12.5",
        "PROOFSHEET_DEVICES": "cuda:0, cuda:1",
        "PROOFSHEET_THREADS": "",
        "PROOFSHEET_STYLES": "my.toml",
    }
    settings = load_settings(environ)
    assert (settings.port, settings.heic, settings.deadline_seconds) == (0, False, 12.5)
    assert settings.devices == ("cuda:0", "cuda:1")
    assert settings.threads is None
    assert settings.styles == "my.toml"


def test_a_flag_wins_over_the_environment():
    assert load_settings({"PROOFSHEET_PORT": "1"}, {"port": "2"}).port == 2


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("PROOFSHEET_PORT", "http", "wanted int"),
        ("PROOFSHEET_PORT", "70000", "<= 65535"),
        ("PROOFSHEET_HEIC", "perhaps", "wanted bool"),
        ("PROOFSHEET_DEADLINE_SECONDS", "soon", "wanted float"),
        ("PROOFSHEET_DEADLINE_SECONDS", "-1", "> 0"),
        ("PROOFSHEET_MAX_JOBS", "0", ">= 1"),
        ("PROOFSHEET_DEVICES", ",", "length >= 1"),
        ("PROOFSHEET_COMPILE", "yes", "wanted one of off, blocks, full$"),
        ("PROOFSHEET_FACE_SIDE", "5", "wanted int, a whole number >= 128 and <= 640, a multiple of 32$"),
        ("PROOFSHEET_THREADS", "x", "wanted int, a whole number$"),
    ],
)
def test_a_wrong_value_is_refused_with_key_value_and_wanted_type(key, value, wanted):
    with pytest.raises(SettingsError, match=wanted) as refusal:
        load_settings({key: value})
    assert str(refusal.value).startswith(f"{key}={value!r}")


@pytest.mark.parametrize(("flag", "value"), [("port", "abc"), ("max_jobs", "many"), ("compile", "yes")])
def test_a_wrong_flag_is_named_as_it_was_written(flag, value):
    with pytest.raises(SettingsError) as refusal:
        load_settings({}, {flag: value})
    assert str(refusal.value).startswith(f"--{flag.replace('_', '-')}, PROOFSHEET_{flag.upper()}={value!r}: wanted ")
    assert "typing" not in str(refusal.value)


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"PROOFSHEET_MAXJOBS: there is no such setting; did you mean .*MAX_JOBS"):
        load_settings({"PROOFSHEET_MAXJOBS": "3"})


def test_the_default_deadline_can_not_be_over_the_longest():
    with pytest.raises(SettingsError, match="MAX_DEADLINE_SECONDS"):
        load_settings({"PROOFSHEET_DEADLINE_SECONDS": "200"})


@pytest.mark.parametrize("name", Settings.names())
def test_every_setting_has_a_sentence(name):
    sentence, default = describe_setting(name)
    assert sentence.endswith(".")
    assert default
