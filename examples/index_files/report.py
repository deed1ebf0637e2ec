"""Prints the figures of a run."""

from collections.abc import Iterator

from accounts import MAX_DELIVERIES, Accounts
from corpus import SHARDS
from dictionaries import KEYS
from faults import Outcome
from proof import Proof
from timeline import Timeline
from verdict import Job, Result

__all__ = ["figures"]


def figures(job: Job, result: Result) -> Iterator[str]:
    """Yield lines: throughput, messages, dictionaries, the lag, and what the faults did."""
    seconds, updates = result.indexing_seconds, len(job.batches) * SHARDS
    yield (
        f"indexed {job.files} files in {seconds:.1f} s: {job.files / seconds:,.0f} files/s, "
        f"{updates / seconds:,.0f} locked shard updates/s, faults included"
    )
    yield from _messages(result.books)
    yield from _dictionaries(result.proof)
    yield from _lag(result.timeline)
    yield from _faults(result.outcome, result.crashes)


def _messages(books: Accounts) -> Iterator[str]:
    sign = "=" if books.published == books.acked + books.dead_lettered else "is not"
    yield (
        f"messages: {books.published} published {sign} {books.acked} acked + "
        f"{books.dead_lettered} dead-lettered; {books.redelivered} redelivered, {books.lag} left"
    )
    for letter in books.letters:
        deliveries = "delivery" if letter.failures == 1 else "deliveries"
        yield (
            f"dead letter: {letter.file}: {letter.reason} after {letter.failures} {deliveries}"
            f" (limit {MAX_DELIVERIES}); last error: {letter.error}"
        )


def _dictionaries(proof: Proof) -> Iterator[str]:
    total = proof.total
    yield (
        f"dictionaries: {proof.editions:,} editions of {len(KEYS)} were acknowledged; "
        f"{proof.readers} processes read {total.reads:,} times, {total.near_hits:,} near hits "
        f"({total.near_hits / max(total.reads, 1):.0%}), and met {total.stop_words:,} stop words"
    )
    yield (
        f"near caches: {total.invalidations:,} invalidations, {total.lease_expiries} lost leases, "
        f"{total.unanswered} reads without an answer"
    )
    yield (
        "reads that saw less than was acknowledged, or read by anybody, before they began: "
        f"{len(proof.violations)} of {total.reads:,}"
    )


def _lag(timeline: Timeline) -> Iterator[str]:
    curve, marks, column_s = timeline.draw()
    yield f"lag, {column_s:.2f} s per column, highest: {timeline.peak}"
    yield f"  {curve}"
    yield f"  {marks}"
    yield "  F worker frozen, K worker killed, L leader killed, c worker killed by poison"


def _faults(outcome: Outcome, crashes: int) -> Iterator[str]:
    failovers = ", ".join(f"{each:.2f} s" for each in outcome.failover_seconds)
    yield f"fail-over, from SIGKILL to the next granted lock: {failovers}"
    frozen, refusal, killed = outcome.frozen, outcome.refusal, outcome.killed
    if frozen is not None and refusal is not None:
        yield (
            f"{frozen.worker} was frozen for {frozen.seconds:.1f} s holding {refusal.resource}; "
            f"its write with token {refusal.token} was refused: the store had seen {refusal.seen}"
        )
    if killed is not None:
        yield (
            f"{killed.worker} was killed amid batch {killed.batch}, which others finished; "
            f"{crashes} more died of the poison that kills, and were replaced"
        )
