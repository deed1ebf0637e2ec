"""The main job: that it succeeds, and above all that it would notice if something were off."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.cluster_process import clean_environment
from synaxis import StaleFencingToken

DEMO = Path(__file__).parents[2] / "examples" / "index_files"
FILES = 60
Index = tuple[Any, list[list[str]]]
"""A store and the batches in it."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of small files that share some words and have others of their own."""
    corpus = tmp_path / "corpus"
    for number in range(FILES):
        path = corpus / f"part{number % 3}" / f"module_{number:02}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import shared\n\ndef only_in_{number:02}():\n    return shared\n" * 3)
    return corpus


def run_demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO / "main.py"), "--dir", str(directory), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=clean_environment({}) | {"TMPDIR": str(directory.parent)},
    )


@pytest.mark.timeout(120)
def test_the_demo_survives_two_dead_leaders_and_a_frozen_worker(directory: Path) -> None:
    ended = run_demo(directory, "--seconds-max", "90")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(" killed") == 2
    assert "its stale write to shard" in ended.stdout
    assert "OK after" in ended.stdout
    assert f"{FILES} files, each indexed exactly once" in ended.stdout


@pytest.mark.timeout(60)
def test_a_demo_that_does_not_finish_in_time_fails(directory: Path) -> None:
    ended = run_demo(directory, "--seconds-max", "0.5")
    assert ended.returncode == 1
    assert "WRONG: it did not finish in time" in ended.stdout
    assert "FAILED after" in ended.stdout


def test_a_directory_with_too_few_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "only.py").write_text("pass")
    ended = run_demo(tmp_path)
    assert ended.returncode == 2
    assert "has 1 files" in ended.stderr


# --- the parts that must notice ----------------------------------------------------------------


class Parts:
    """The demo's modules; its folder is not a package, as it is run by file name."""

    def __init__(self) -> None:
        self.corpus = self._module("corpus")
        self.store = self._module("store")
        self.verify = self._module("verify")

    @staticmethod
    def _module(name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.syspath_prepend(str(DEMO))
    names = ("corpus", "store", "verify")
    yield Parts()
    for name in names:
        del sys.modules[name]


@pytest.fixture
def index(parts: Parts, directory: Path, tmp_path: Path) -> Iterator[Index]:
    """An index as one honest worker would build it, and the batches in it."""
    corpus = parts.corpus
    batches = corpus.batches_of(corpus.find_files(directory))
    parts.store.create(tmp_path / "index.sqlite", batches)
    store = parts.store.IndexStore(tmp_path / "index.sqlite", "honest")
    for batch, files in enumerate(batches):
        store.begin_batch(batch, token=10)
        words = corpus.count_words(directory, files)
        for number in range(corpus.SHARDS):
            mine = {word: n for word, n in words.items() if corpus.shard_of(word) == number}
            shard = store.read_shard(number, token=10)
            shard.add(batch, mine)
            store.write_shard(number, shard, token=10)
        store.finish_batch(batch, token=10)
    yield store, batches
    store.close()


def test_an_honest_index_has_no_differences(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    assert parts.verify.differences(store, directory, batches) == []


def test_a_file_that_was_indexed_twice_is_noticed(
    parts: Parts, index: Index, directory: Path
) -> None:
    store, batches = index
    store.finish_batch(0, token=11)
    [difference] = parts.verify.differences(store, directory, batches)
    assert difference == f"{batches[0][0]} was indexed 2 times"


def test_a_lost_word_is_noticed(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    number = parts.corpus.shard_of("shared")
    shard = store.peek_shard(number)
    shard.words["shared"] -= 1
    store.write_shard(number, shard, token=11)
    [difference] = parts.verify.differences(store, directory, batches)
    assert "1 words have wrong counts, e.g. 'shared'" in difference


def test_an_overwritten_batch_is_noticed(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    shard = store.peek_shard(0)
    shard.batches.remove(3)
    store.write_shard(0, shard, token=11)
    assert "shard 0 took in batch 3 0 times" in parts.verify.differences(store, directory, batches)


def test_a_write_with_a_lower_token_is_refused_and_recorded(index: Index) -> None:
    store, _ = index
    before = store.peek_shard(5)
    with pytest.raises(StaleFencingToken):
        store.write_shard(5, type(before)(), token=9)
    assert store.peek_shard(5) == before
    [refusal] = store.refusals()
    assert (refusal.resource, refusal.token, refusal.seen) == ("shard 5", 9, 10)


def test_a_reader_who_will_write_shuts_out_older_writers_already(index: Index) -> None:
    store, _ = index
    store.read_shard(5, token=12)
    with pytest.raises(StaleFencingToken):
        store.write_shard(5, store.peek_shard(5), token=11)


def test_workers_are_kept_behind_the_gate(parts: Parts, directory: Path, tmp_path: Path) -> None:
    batches = parts.corpus.batches_of(parts.corpus.find_files(directory))
    parts.store.create(tmp_path / "index.sqlite", batches)
    store = parts.store.IndexStore(tmp_path / "index.sqlite", "worker")
    assert store.open_batches() == []
    store.open_gate(2)
    assert sorted(store.open_batches()) == [0, 1]
    store.close()


def test_every_file_is_in_exactly_one_batch(parts: Parts) -> None:
    files = [f"file_{number}" for number in range(10_000)]
    batches = parts.corpus.batches_of(files)
    assert [name for batch in batches for name in batch] == files
    assert max(map(len, batches)) <= 64


def test_words_are_counted_in_lower_case(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("Lock lock LOCK 42 x")
    assert parts.corpus.count_words(tmp_path, ["one.py"]) == {"lock": 3}
