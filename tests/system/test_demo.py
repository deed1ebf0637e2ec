"""The main job: that it succeeds, and above all that it would notice if something were off."""

import asyncio
import dataclasses
import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from support.cluster_process import clean_environment
from synaxis import OutcomeUnknown, Receipt, StaleFencingToken

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
def test_the_demo_survives_dead_leaders_dead_workers_a_frozen_one_and_poison(
    directory: Path,
) -> None:
    ended = run_demo(directory, "--seconds-max", "90")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("leader n") == 2
    assert "its stale write to shard" in ended.stdout
    assert " killed amid batch " in ended.stdout
    assert f"{FILES + 3} published = {FILES} acked + 3 dead-lettered; " in ended.stdout
    assert "; 0 redelivered" not in ended.stdout
    assert ended.stdout.count("dead letter: ") == 3
    assert "OK after" in ended.stdout
    assert f"{FILES} files, each indexed exactly once" in ended.stdout
    assert re.search(r"before they began: 0 of [1-9]", ended.stdout)


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
        self.poison = self._module("poison")
        self.producer = self._module("producer")
        self.accounts = self._module("accounts")
        self.faults = self._module("faults")
        self.timeline = self._module("timeline")
        self.team = self._module("team")
        self.verdict = self._module("verdict")
        self.coherence = self._module("coherence")
        self.journal = self._module("journal")
        self.proof = self._module("proof")

    @staticmethod
    def _module(name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.syspath_prepend(str(DEMO))
    before = set(sys.modules)
    yield Parts()
    for name in set(sys.modules) - before:
        if (DEMO / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def index(parts: Parts, directory: Path, tmp_path: Path) -> Iterator[Index]:
    """An index as one honest worker would build it, and the batches in it."""
    corpus = parts.corpus
    batches = corpus.batches_of(corpus.find_files(directory))
    parts.store.create(tmp_path / "index.sqlite")
    store = parts.store.IndexStore(tmp_path / "index.sqlite", "honest")
    for batch, files in enumerate(batches):
        assert store.begin_batch(batch, failures=0)
        words = corpus.count_words(directory, files)
        for number in range(corpus.SHARDS):
            mine = {word: n for word, n in words.items() if corpus.shard_of(word) == number}
            shard = store.read_shard(number, token=10)
            shard.add(batch, mine)
            store.write_shard(number, shard, token=10)
        assert store.finish_batch(batch, files)
    yield store, batches
    store.close()


def test_an_honest_index_has_no_differences(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    assert parts.verify.differences(store, directory, batches) == []


def test_a_file_that_was_indexed_in_two_batches_is_noticed(
    parts: Parts, index: Index, directory: Path
) -> None:
    store, batches = index
    store.finish_batch(len(batches), batches[0])
    [difference] = parts.verify.differences(store, directory, batches)
    assert difference == f"{batches[0][0]} was indexed 2 times"


def test_a_batch_that_is_delivered_again_is_counted_once(
    parts: Parts, index: Index, directory: Path
) -> None:
    store, batches = index
    assert not store.begin_batch(0, failures=1)
    assert not store.finish_batch(0, batches[0])
    assert parts.verify.differences(store, directory, batches) == []


def test_a_file_that_is_missing_is_noticed(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    wrong = parts.verify.differences(store, directory, [*batches, ["part0/module_00.py"]])
    assert f"shard 0 took in batch {len(batches)} 0 times" in wrong


def test_poison_in_the_index_is_noticed(parts: Parts, index: Index, directory: Path) -> None:
    store, batches = index
    store.finish_batch(len(batches), ["poison.py"])
    shard = store.peek_shard(4)
    shard.add(len(batches), {})
    store.write_shard(4, shard, token=11)
    assert parts.verify.differences(store, directory, batches) == [
        "poison.py is in the index, and should not be",
        f"shard 4 took in batch {len(batches)} 1 times",
    ]


def test_a_batch_that_a_shard_took_in_twice_is_noticed(
    parts: Parts, index: Index, directory: Path
) -> None:
    store, batches = index
    shard = store.peek_shard(0)
    shard.add(3, {})
    store.write_shard(0, shard, token=11)
    assert "shard 0 took in batch 3 2 times" in parts.verify.differences(store, directory, batches)


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


def test_every_file_is_in_exactly_one_batch(parts: Parts) -> None:
    files = [f"file_{number}" for number in range(10_000)]
    batches = parts.corpus.batches_of(files)
    assert [name for batch in batches for name in batch] == files
    assert max(map(len, batches)) <= 64


def test_words_are_counted_in_lower_case(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("Lock lock LOCK 42 x")
    assert parts.corpus.count_words(tmp_path, ["one.py"]) == {"lock": 3}


# --- the books -----------------------------------------------------------------------------------

BATCHES = 5


def honest_books(parts: Parts) -> Any:
    """What the service should say of five good messages and the poisoned ones."""
    letters = []
    for number, poison in enumerate(parts.poison.POISONS):
        failures = 3 if poison.reason == "max_deliveries" else 1
        error = f"{poison.errors[0]} and more"
        batch = BATCHES + number
        letters.append(parts.accounts.Letter(batch, poison.file, poison.reason, error, failures))
    dead = len(letters)
    return parts.accounts.Accounts(
        BATCHES + dead, BATCHES + dead, BATCHES, dead, 6, 0, tuple(letters), (0, dead)
    )


def honest_attempts(parts: Parts) -> list[Any]:
    """Batch 2 was begun by a worker that died, and two of the poisoned ones thrice."""
    seen = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (2, 1), *((5, n) for n in range(3))]
    return [parts.store.Attempt(batch, "worker-1", failures) for batch, failures in seen]


def wrong_with(parts: Parts, **changes: object) -> list[str]:
    books = dataclasses.replace(honest_books(parts), **changes)
    found: list[str] = parts.accounts.disagreements(books, BATCHES, BATCHES, honest_attempts(parts))
    return found


def test_honest_books_agree(parts: Parts) -> None:
    assert wrong_with(parts) == []


def test_a_message_that_was_neither_acknowledged_nor_buried_is_noticed(parts: Parts) -> None:
    assert wrong_with(parts, acked=BATCHES - 1) == [
        "7 messages were acked or dead-lettered, not 8",
        "5 batches are in the store, not 4",
    ]


def test_a_message_that_was_acknowledged_twice_is_noticed(parts: Parts) -> None:
    assert "9 messages were acked or dead-lettered, not 8" in wrong_with(parts, acked=BATCHES + 1)


def test_a_message_that_was_stored_twice_is_noticed(parts: Parts) -> None:
    assert "9 messages were published, not 8" in wrong_with(parts, published=9)


def test_dead_letters_that_cannot_be_seen_are_noticed(parts: Parts) -> None:
    assert "there is no dead letter" in wrong_with(parts, letters=())
    letters = honest_books(parts).letters
    wrong = wrong_with(parts, letters=letters[1:])
    assert f"{letters[0].file} is not among the dead letters" in wrong


def test_a_good_batch_among_the_dead_letters_is_noticed(parts: Parts) -> None:
    letter = parts.accounts.Letter(2, "good.py", "max_deliveries", "lease_expired", 3)
    wrong = wrong_with(parts, letters=(*honest_books(parts).letters, letter))
    assert "batch 2 is a dead letter, and is no poison: lease_expired" in wrong


def test_a_dead_letter_with_another_reason_is_noticed(parts: Parts) -> None:
    first, *others = honest_books(parts).letters
    wrong = wrong_with(parts, letters=(dataclasses.replace(first, failures=2), *others))
    assert len(wrong) == 1
    assert f"the dead letter of {first.file} says something else" in wrong[0]


def test_metrics_that_say_something_else_are_noticed(parts: Parts) -> None:
    assert wrong_with(parts, gauges=(1, 3)) == ["1 messages are unfinished by the metrics, not 0"]


def test_a_run_without_redelivery_is_noticed(parts: Parts) -> None:
    attempts = [each for each in honest_attempts(parts) if not each.failures]
    wrong = parts.accounts.disagreements(honest_books(parts), BATCHES, BATCHES, attempts)
    assert wrong == ["no message was delivered again"]
    assert wrong_with(parts, redelivered=2) == ["workers saw 3 redeliveries, the service counted 2"]


# --- the dictionaries ----------------------------------------------------------------------------


def honest_proof(parts: Parts, **changes: object) -> Any:
    """What the journal should say: much was read, some of it changed, nothing was too old."""
    total = parts.journal.Life("all", 1_000, 900, 50, 1, 0, 10)
    return dataclasses.replace(parts.proof.Proof(40, 8, total, []), **changes)


def violations(parts: Parts, *looks: tuple[str, int, int, int]) -> list[str]:
    """Judge looks (reader, number, begun, ended) at a key with editions at 10, 20 and 30 ms."""
    ms = 1_000_000
    writes = [parts.coherence.Write("a", n, (10 * n - 5) * ms, 10 * n * ms) for n in (1, 2, 3)]
    seen = [
        parts.coherence.Look(reader, "a", number, begun * ms, ended * ms)
        for reader, number, begun, ended in looks
    ]
    found: list[str] = parts.coherence.violations(writes, seen)
    return found


def test_a_reader_may_see_a_write_before_or_after_its_acknowledgement(parts: Parts) -> None:
    assert violations(parts, ("r", 1, 12, 13), ("r", 1, 17, 18), ("r", 2, 19, 25)) == []
    assert violations(parts, ("r", 2, 16, 17), ("r", 2, 21, 22), ("r", 3, 31, 32)) == []
    assert violations(parts, ("r", 0, 5, 9), ("s", 1, 9, 12), ("r", 1, 14, 15)) == []


def test_a_read_of_what_was_overwritten_before_it_began_is_noticed(parts: Parts) -> None:
    assert violations(parts, ("r", 1, 22, 23)) == [
        "r read number 1 of a; number 2 was acknowledged 2.0 ms before"
    ]
    assert len(violations(parts, ("r", 0, 12, 13))) == 1


def test_a_reader_that_goes_back_is_noticed(parts: Parts) -> None:
    assert violations(parts, ("r", 2, 16, 17), ("r", 1, 18, 19)) == [
        "r read number 1 of a; number 2 was read by r 1.0 ms before"
    ]


def test_what_one_reader_has_seen_no_other_may_miss(parts: Parts) -> None:
    (wrong,) = violations(parts, ("r", 2, 16, 17), ("s", 1, 18, 19))
    assert wrong == "s read number 1 of a; number 2 was read by r 1.0 ms before"
    assert violations(parts, ("r", 2, 16, 19), ("s", 1, 18, 19)) == [], "they read at one time"


def test_an_edition_that_nobody_had_written_is_noticed(parts: Parts) -> None:
    assert violations(parts, ("r", 3, 22, 23)) == ["r read number 3 of a before it was written"]
    assert violations(parts, ("r", 9, 32, 33)) == ["r read number 9 of a before it was written"]


def test_the_proof_is_made_of_what_the_processes_wrote_down(parts: Parts, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    parts.journal.create(path)
    journal = parts.journal.Journal(path)
    journal.add_write(parts.coherence.Write("a", 1, 5, 10))
    life = parts.journal.Life("r/1", 2, 1, 1, 0, 0, 7)
    journal.add_looks([parts.coherence.Look("r/1", "a", 1, 11, 12)], life)
    late = parts.coherence.Look("r/2", "a", 0, 13, 14)
    journal.add_looks([late], dataclasses.replace(life, reader="r/2", reads=1))
    journal.add_looks([], dataclasses.replace(life, reads=3))
    journal.close()
    proof = parts.proof.prove(path)
    assert (proof.editions, proof.readers) == (1, 2)
    assert dataclasses.astuple(proof.total) == ("all", 4, 2, 2, 0, 0, 14)
    assert len(proof.violations) == 1


def test_a_proof_that_proves_nothing_is_none(parts: Parts) -> None:
    assert parts.proof.shortcomings(honest_proof(parts)) == []
    total = parts.journal.Life("all", 1_000, 0, 0, 0, 0, 0)
    assert parts.proof.shortcomings(honest_proof(parts, editions=1, total=total)) == [
        "the dictionaries were written only 1 times",
        "no dictionary was read from a near cache",
        "no dictionary was taken out of a near cache",
    ]


# --- the verdict ---------------------------------------------------------------------------------


@pytest.fixture
def run(parts: Parts, index: Index, directory: Path, tmp_path: Path) -> tuple[Any, Any]:
    """A job and its result, as a run should be in which the first batch came twice."""
    store, batches = index
    good, poisons = len(batches), len(parts.poison.POISONS)
    store.begin_batch(0, failures=1)
    for failures in range(3):
        store.begin_batch(good, failures)
    books = honest_books(parts)
    letters = tuple(
        dataclasses.replace(each, batch=each.batch - BATCHES + good) for each in books.letters
    )
    books = dataclasses.replace(
        books, receipts=good + poisons, published=good + poisons, acked=good, letters=letters
    )
    refusal = parts.store.Refusal("shard 5", 9, 10, "worker-1")
    frozen = parts.faults.FrozenWorker("worker-1", 5, 9, 3.0)
    killed = parts.faults.KilledWorker("honest", 0, 0)
    deaths = [parts.team.Death("worker-2", -signal.SIGKILL)]
    deaths += [parts.team.Death("worker-3", parts.poison.CRASH_CODE)] * 3
    return parts.verdict.Job(directory, tmp_path, batches), parts.verdict.Result(
        parts.faults.Outcome([0.2, 0.3], frozen, refusal, killed, kills=1),
        books,
        honest_proof(parts),
        parts.timeline.Timeline(),
        deaths,
        {"worker-1": 0},
        20.0,
    )


def test_a_good_run_is_judged_as_one(parts: Parts, run: tuple[Any, Any]) -> None:
    assert parts.verdict.judge(*run) == []


def test_a_kill_that_hit_no_message_is_noticed(parts: Parts, run: tuple[Any, Any]) -> None:
    job, result = run
    killed = parts.faults.KilledWorker
    result.outcome.killed = None
    assert parts.verdict.judge(job, result) == ["no worker was killed while it held a message"]
    result.outcome.killed = killed("honest", 1, 0)
    assert parts.verdict.judge(job, result) == [
        "batch 1 did not come again after honest was killed"
    ]
    result.outcome.killed = killed("another", 0, 0)
    assert parts.verdict.judge(job, result) == ["another did not hold batch 0 when it was killed"]


async def test_whose_batch_another_may_hold_is_not_killed(parts: Parts) -> None:
    """The frozen worker finished that batch when it thawed, and so it did not come again."""
    killed: list[str] = []

    def worker(name: str) -> Any:
        async def kill() -> None:
            killed.append(name)

        return SimpleNamespace(name=name, kill=kill)

    lines = iter([(worker("worker-1"), [1, 1]), (worker("worker-2"), [2, 0])])

    async def told(word: str) -> Any:
        assert word == "amid"
        return next(lines)

    stage = SimpleNamespace(
        team=SimpleNamespace(told=told, forget_lines=lambda: None),
        store=SimpleNamespace(is_finished=lambda _: False),
        producer=None,
        timeline=SimpleNamespace(mark=lambda _: None),
        say=lambda _: None,
    )
    faults = parts.faults.Faults(stage, files=1)
    await faults._kill_worker()
    assert killed == ["worker-2"]
    assert faults.outcome.killed == parts.faults.KilledWorker("worker-2", 2, 0)


def test_workers_that_die_of_something_else_are_noticed(parts: Parts, run: tuple[Any, Any]) -> None:
    job, result = run
    result.deaths.append(parts.team.Death("worker-4", 1))
    result.deaths.append(parts.team.Death("worker-5", -signal.SIGKILL))
    result.exit_codes["worker-1"] = -signal.SIGTERM
    assert parts.verdict.judge(job, result) == [
        "worker-4 died with 1",
        "2 workers were killed, 1 of them by us",
        "worker-1 exited with -15",
    ]


def test_poison_that_did_not_kill_is_noticed(parts: Parts, run: tuple[Any, Any]) -> None:
    job, result = run
    result.deaths.pop()
    assert parts.verdict.judge(job, result) == [
        "2 workers died of the poison that kills, which was read 3 times"
    ]


def test_a_run_without_faults_is_no_good_run(parts: Parts, run: tuple[Any, Any]) -> None:
    job, result = run
    result.outcome.refusal = None
    result.outcome.failover_seconds.pop()
    assert parts.verdict.judge(job, result) == [
        "no stale write of the frozen worker was refused",
        "the leader was not killed twice",
    ]


def test_a_read_that_was_too_old_fails_the_run(parts: Parts, run: tuple[Any, Any]) -> None:
    job, result = run
    proof = honest_proof(parts, violations=["worker-1 read number 1"])
    assert parts.verdict.judge(job, dataclasses.replace(result, proof=proof)) == [
        "worker-1 read number 1"
    ]


# --- the producer and the curve ------------------------------------------------------------------


class FakeTopic:
    """Stores messages by their ids; the first publication of each is left in doubt."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}

    async def publish(self, value: dict[str, Any], *, message_id: str) -> Receipt:
        if message_id not in self.offsets:
            self.offsets[message_id] = len(self.offsets)
            raise OutcomeUnknown(f"no answer about {value}")
        return Receipt(0, self.offsets[message_id], duplicate=True)


async def held_back(producer: Any) -> None:
    """Wait until everything that is allowed is stored."""
    for _ in range(1000):
        if producer.held_back:
            return
        await asyncio.sleep(0)
    pytest.fail("the producer does not come to rest")


def test_every_batch_and_every_poison_is_ordered_once(parts: Parts) -> None:
    orders = parts.producer.orders_of([["a.py"], ["b.py"], ["c.py"]])
    assert sorted(order.batch for order in orders) == list(range(3 + len(parts.poison.POISONS)))
    assert {order.files[0] for order in orders if order.batch >= 3} == {
        poison.file for poison in parts.poison.POISONS
    }


async def test_the_producer_goes_as_far_as_allowed_and_stores_each_message_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.producer, "_PAUSE_S", 0)
    monkeypatch.setattr(parts.producer, "_TROUBLE_PAUSE_S", 0)
    orders = [parts.producer.Order(number, [f"{number}.py"]) for number in range(10)]
    topic = FakeTopic()
    producer = parts.producer.Producer(topic, orders)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(producer.run())
        producer.allow(40)
        await held_back(producer)
        assert len(topic.offsets) == 4
        producer.allow_one_more()
        await held_back(producer)
        assert len(topic.offsets) == 5
        producer.allow(100)
    assert producer.done
    assert producer.stored == 10


def test_the_curve_shows_the_lag_gaps_and_what_happened(parts: Parts) -> None:
    timeline = parts.timeline.Timeline()
    timeline.samples += [(0.1, 0), (0.3, 40), (0.6, None), (0.8, 80), (1.3, 0)]
    timeline.marks += [(0.3, "c"), (0.3, "L")]
    assert timeline.draw() == ("▁▅·██▁", " L    ", 0.25)
    assert timeline.peak == 80
