"""Every Python block of README and docs runs, in the order of its page.

The blocks of a page share their names, as in a notebook. A block may ``await`` at its top. The
addresses of ``synaxis up`` are replaced by those of the test's node. ``<!-- not run: reason -->``
right before a block leaves it out.
"""

import ast
import asyncio
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from support.markdown import ROOT, Block, blocks, pages

EXAMPLE_URL = re.compile(r"http://127\.0\.0\.1:74\d0(,http://127\.0\.0\.1:74\d0)*")
PAGES = [page for page in pages() if any(not each.skipped for each in blocks(page, "python"))]


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A module of its own, so that dataclasses and pickling work in examples."""
    module = types.ModuleType("documented_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return module.__dict__


@pytest.mark.timeout(60)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_the_page_runs(
    page: Path, node_url: str, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAXIS_URL", node_url)
    with asyncio.Runner() as runner:
        for block in blocks(page, "python"):
            if not block.skipped:
                run(block, EXAMPLE_URL.sub(node_url, block.text), namespace, runner)


def run(block: Block, source: str, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    """Execute one block; a failure shows the page's own file and line."""
    padded = "\n" * block.line + source
    code = compile(padded, str(block.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)  # noqa: S307 - our own documentation
    if inspect.iscoroutine(result):
        runner.run(result)


def test_the_readme_shows_runnable_python() -> None:
    assert ROOT / "README.md" in PAGES
