"""Every test that README and docs name as the holder of a promise exists."""

import re
from pathlib import Path

import pytest

from support.markdown import ROOT, pages

NAMED = re.compile(r"\b(tests/[\w/]+\.py)::(test_\w+)")
PAGES = [page for page in pages() if NAMED.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_named_tests_exist(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    missing = [f"{path}::{name}" for path, name in named if not _exists(ROOT / path, name)]
    assert not missing


def test_the_pages_of_promises_name_tests() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "guarantees.md"} <= set(PAGES)


def _exists(path: Path, name: str) -> bool:
    if not path.exists():
        return False
    return re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE) is not None
