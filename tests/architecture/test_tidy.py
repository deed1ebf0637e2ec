"""Rules about the code itself that no linter checks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "synaxis"
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 600
FILES = sorted(SOURCE.rglob("*.py"))
TEST_FOLDERS = ("unit", "properties", "paper", "transcripts", "simulation", "integration", "system")

BANNED_MODULES = {"utils", "helpers", "common", "misc", "manager2", "base"}
BANNED_WORDS = {
    r"FIXME": "mend it before it is merged",
    r"XXX": "say what is meant",
    r"TODO(?!\(#\d+\))": "open an issue and write TODO(#number)",
    r"(?i)\bmaster\b": "leader",
    r"(?i)\bslave\b": "follower or replica",
    r"(?i)\bwhitelist\b": "allow list",
    r"(?i)\bblacklist\b": "deny list",
    r"noqa: C901": "split the function",
    r"/(?:work|home|root)/\w": "no path of one machine",
}
"""Pattern -> what to do instead."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines of the function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_module_says_what_it_holds_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no module docstring"
    assert text.count("\n") <= FILE_LINES_MAX, "a noun is missing: split the file"
    long = {f.name: body_lines(f) for f in functions(tree) if body_lines(f) > FUNCTION_LINES_MAX}
    assert not long


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_banned_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = {
        match.group(): f"line {text[: match.start()].count(chr(10)) + 1}: {instead}"
        for pattern, instead in BANNED_WORDS.items()
        for match in re.finditer(pattern, text)
    }
    assert not found


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_package_init_holds_docstring_and_exports_only(path: Path) -> None:
    if path.name != "__init__.py":
        return
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign, ast.AnnAssign)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {"__getattr__", "__dir__"}  # PEP 562: the public package must import fast
    other = [
        type(node).__name__
        for node in tree.body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.FunctionDef) and node.name in lazy)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    assert not other


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_module_says_what_it_offers(path: Path) -> None:
    if path.name in ("__init__.py", "__main__.py"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_")
    ]
    exported = [
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    ]
    assert exported or not public or public == ["main"], "no __all__"


def test_no_module_is_a_dump() -> None:
    assert not {path.stem for path in FILES} & BANNED_MODULES


def test_every_source_package_has_tests() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages
    tested = {
        path.relative_to(ROOT / "tests").parts[1]
        for folder in TEST_FOLDERS
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    }
    by_import = {
        package
        for package in packages
        for path in (ROOT / "tests").rglob("test_*.py")
        if f"synaxis.{package}" in path.read_text(encoding="utf-8")
    }
    assert not packages - tested - by_import


def test_tests_do_not_mock_our_own_code() -> None:
    mock = re.compile(r"unittest\.mock|\bMagicMock\b|\bmocker\b")
    users = [
        named(path)
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__) and mock.search(path.read_text(encoding="utf-8"))
    ]
    assert not users


def test_news_fragments_have_a_kind_that_is_declared() -> None:
    kinds = set(
        re.findall(r'^directory = "(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    ) - {"changes"}
    for path in (ROOT / "changes").glob("*.md"):
        assert path.suffixes[0][1:] in kinds, path.name
