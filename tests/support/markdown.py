"""Fenced blocks and links of the Markdown that readers see."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r"<!-- not run: \S[^\n]* -->\s*\Z")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """One fenced block; ``skipped`` when ``<!-- not run: reason -->`` stands right before it."""

    path: Path
    line: int
    language: str
    text: str
    skipped: bool

    @property
    def place(self) -> str:
        """File and line, for people."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return README, docs and the other pages at the top, in a fixed order."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")]
    return sorted([*found, *(ROOT / "examples").rglob("*.md"), *ROOT.glob("benchmarks/*.md")])


def blocks(path: Path, language: str) -> list[Block]:
    """Return the blocks of one page in one language."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            path,
            text.count("\n", 0, match.start()) + 1,
            match[1],
            match[2],
            SKIP.search(text, 0, match.start()) is not None,
        )
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


def links(path: Path) -> list[str]:
    """Return the targets of all links of one page, fenced blocks left out."""
    return LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, made as the usual renderers make them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
