"""API keys: what a file may hold, and who is admitted."""

from pathlib import Path

import pytest

from synaxis.errors import ConfigError
from synaxis.security.api_keys import ApiKeys, new_api_key

SHA = "0" * 64


def test_every_key_is_new_and_long_enough_not_to_be_guessed() -> None:
    first, second = new_api_key(), new_api_key()
    assert first != second
    assert len(first) >= 43 + len("syx_")


def test_who_shows_a_known_key_is_admitted_and_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key, other = new_api_key(), new_api_key()
    lines = ["# operators", ApiKeys.line("ops", key) + "  # Ann", "", ApiKeys.line("ci", other)]
    file.write_text("\n".join(lines))
    keys = ApiKeys.load(file)
    assert keys.admits(key)
    assert keys.admits(other)
    stored = ApiKeys.line("ops", key).partition(":")[2]
    for wrong in ("", "ops", key[:-1], key + "x", stored, "\u00e4", "\udcff"):
        assert not keys.admits(wrong), wrong
    assert key not in file.read_text()


def test_without_a_file_everybody_is_admitted() -> None:
    assert ApiKeys.open_to_all().admits("")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "ops", "ops:xyz", "ops:abcd", f"a:{SHA}\na:{SHA}"]
)
def test_a_file_that_admits_nobody_or_is_malformed_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"holds no key|name:sha256-hex"):
        ApiKeys.load(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        ApiKeys.load(tmp_path / "nowhere")
