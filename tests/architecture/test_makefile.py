"""The Makefile explains itself, and says what a bare machine lacks."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD_PYTHON = "#!/bin/sh\nexit 1\n"
WITHOUT_VENV = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexit 0\n'


def test_every_target_is_explained_and_there_are_at_most_twelve() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE)
    assert sorted(phony.split()) == sorted(explained)
    assert len(explained) <= 12


def test_without_a_target_it_lists_the_targets() -> None:
    result = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.search(r"^demo +Index real files", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("python", "said"),
    [(OLD_PYTHON, "needs Python 3.11 or newer"), (WITHOUT_VENV, "apt-get install python3-venv")],
)
def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, python: str, said: str) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    fake = tmp_path / "python"
    fake.write_text(python)
    fake.chmod(0o755)
    result = subprocess.run(
        ["make", f"PYTHON={fake}", "check"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert said in result.stderr
    assert not (tmp_path / ".venv").exists()
