"""Flags are made from the settings."""

import pytest

from synaxis.config import Settings, load_settings, parse_flags


def test_every_setting_is_a_flag() -> None:
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        assert parse_flags([flag, "x"]) == {name: "x"}, field


def test_only_given_flags_are_returned_so_that_the_environment_counts() -> None:
    assert parse_flags([]) == {}


def test_a_switch_needs_no_value() -> None:
    flags = parse_flags(["--i-know-this-is-insecure", "--listen", "0.0.0.0:1"])
    assert load_settings(flags).i_know_this_is_insecure


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--nodeid", "n1"])
    assert caught.value.code == 2
    assert "--nodeid" in capsys.readouterr().err


def test_flags_are_never_abbreviated() -> None:
    with pytest.raises(SystemExit):
        parse_flags(["--clust", "x"])


def test_help_explains_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all("--" + name.replace("_", "-") in text for name in Settings.model_fields)
