"""Compares the index with what one plain process counts, without locks, queue or cluster."""

from collections import Counter
from pathlib import Path

from corpus import SHARDS, count_words, shard_of
from store import IndexStore

__all__ = ["differences"]


def differences(store: IndexStore, directory: Path, batches: list[list[str]]) -> list[str]:
    """Return one sentence for each way in which the index is wrong; none when it is right."""
    files = [name for batch in batches for name in batch]
    return [
        *_wrong_files(store, files),
        *_wrong_batches(store, len(batches)),
        *_wrong_words(store, count_words(directory, files)),
    ]


def _wrong_files(store: IndexStore, files: list[str]) -> list[str]:
    times = store.times_indexed()
    wrong = [
        f"{name} was indexed {times.get(name, 0)} times" for name in files if times.get(name) != 1
    ]
    unknown = times.keys() - set(files)
    return wrong + [f"{name} is in the index, and should not be" for name in sorted(unknown)]


def _wrong_batches(store: IndexStore, count: int) -> list[str]:
    """Every shard must have taken in every batch once: also those that had no word for it."""
    wrong = []
    for number in range(SHARDS):
        merged = Counter(store.peek_shard(number).batches)
        wrong += [
            f"shard {number} took in batch {batch} {merged[batch]} times"
            for batch in sorted({*range(count), *merged})
            if merged[batch] != (1 if batch < count else 0)
        ]
    return wrong


def _wrong_words(store: IndexStore, expected: Counter[str]) -> list[str]:
    found: Counter[str] = Counter()
    misplaced = 0
    for number in range(SHARDS):
        words = store.peek_shard(number).words
        misplaced += sum(shard_of(word) != number for word in words)
        found.update(words)
    wrong = [f"{misplaced} words are in the wrong shard"] if misplaced else []
    different = [word for word in expected | found if expected[word] != found[word]]
    if different:
        word = min(different)
        wrong.append(
            f"{len(different)} words have wrong counts, e.g. {word!r}: "
            f"{found[word]} instead of {expected[word]}"
        )
    return wrong
