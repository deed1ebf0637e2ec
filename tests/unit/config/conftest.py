"""No setting of the machine that runs the tests reaches them."""

import os
from pathlib import Path

import pytest

from synaxis.config.sources import LEGACY_NAMES, LEGACY_WITHOUT_EFFECT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = {*LEGACY_NAMES, *LEGACY_WITHOUT_EFFECT, "NODE_HOST", "NODE_PORT", "NODE_TYPE"}
    for name in list(os.environ):  # noqa: TID251 - this is what settings are read from
        if name.startswith("SYNAXIS_") or name in old:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
