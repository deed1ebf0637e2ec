"""What is indexed: the files of a directory, their words, and the shard of every word."""

import os
import re
import sysconfig
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from poison import CRASH_CODE, CRASHING

__all__ = [
    "SHARDS",
    "batches_of",
    "count_words",
    "default_directory",
    "find_files",
    "is_outside",
    "shard_of",
]

SHARDS = 16
"""Number of independently locked parts of the index."""

_WORD = re.compile(r"[a-z_][a-z0-9_]+")
_BATCHES_WANTED = 120
_BATCH_FILES_MAX = 64
"""Keeps what one worker holds, and loses when it dies, small."""
_SKIPPED_DIRECTORIES = {"site-packages", "dist-packages", "__pycache__", ".git", ".venv"}


def default_directory() -> Path:
    """Return the standard library of the running Python: real files that everybody has."""
    return Path(sysconfig.get_path("stdlib"))


def find_files(directory: Path) -> list[str]:
    """Return the Python files below ``directory``, relative to it and sorted.

    A directory without any gets all its files indexed.
    """
    found = []
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _SKIPPED_DIRECTORIES]
        found += [Path(parent, name).relative_to(directory) for name in names]
    python = [path for path in found if path.suffix == ".py"]
    return sorted(map(str, python or found))


def batches_of(files: list[str]) -> list[list[str]]:
    """Return the files of each message: small batches, about 120, of 64 files at most."""
    size = min(max(-(-len(files) // _BATCHES_WANTED), 1), _BATCH_FILES_MAX)
    return [files[start : start + size] for start in range(0, len(files), size)]


def is_outside(name: str) -> bool:
    """Return whether a name leads out of the directory that it is relative to."""
    path = Path(name)
    return path.is_absolute() or ".." in path.parts


def count_words(directory: Path, files: Iterable[str]) -> Counter[str]:
    """Return how often each word occurs in ``files``, in lower case.

    Raises:
        OSError: a file cannot be read.
    """
    words: Counter[str] = Counter()
    for name in files:
        if name == CRASHING:
            os._exit(
                CRASH_CODE
            )  # as a bug in a native parser ends a process: nothing is cleaned up
        text = (directory / name).read_text(encoding="utf-8", errors="replace")
        words.update(_WORD.findall(text.lower()))
    return words


def shard_of(word: str) -> int:
    """Return the shard that counts ``word``, equal in every process."""
    return zlib.crc32(word.encode()) % SHARDS
