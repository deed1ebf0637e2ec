import json
from pathlib import Path

import pytest

from synaxis.cli.main import run
from synaxis.config import Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's .env out."""
    monkeypatch.chdir(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["config", "show", "--json", *arguments]) == 0
    return {row["setting"]: row["value"] for row in json.loads(capsys.readouterr().out)}


def test_every_setting_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(shown(capsys)) == set(Settings.model_fields)


def test_a_flag_wins_over_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAXIS_NODE_ID", "from-environment")
    assert shown(capsys)["node_id"] == "from-environment"
    assert shown(capsys, "--node-id", "from-flag")["node_id"] == "from-flag"


def test_secrets_are_masked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAXIS_JOIN_API_KEY", "syx_very_secret")
    assert run(["config", "show"]) == 0
    assert "very_secret" not in capsys.readouterr().out
    assert shown(capsys)["join_api_key"] == "********"


def test_a_wrong_setting_ends_with_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "--lock-groups", "many"]) == 78
    assert "lock_groups" in capsys.readouterr().err


def test_an_unknown_format_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as end:
        run(["config", "show", "-o", "xml"])
    assert end.value.code == 2
