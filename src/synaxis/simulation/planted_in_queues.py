"""Planted bugs of the queue shards: of the replicated half, the leader's half, and the store."""

# The replacements touch what is private to the machines, which is their whole purpose; some of it
# has types that are private too.
# ruff: noqa: ANN401, SLF001

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from synaxis.consensus.attending import CONFIRMATION
from synaxis.consensus.reads import Read
from synaxis.consensus.replica import Replica
from synaxis.ids import LogTime
from synaxis.queues import forgetting, publishing, settling, slices
from synaxis.queues.batch_index import BatchIndex
from synaxis.queues.commands import Part, Published, Slice
from synaxis.queues.deduplication import Producers, SavedProducer
from synaxis.queues.delivery.consumer import Consumer
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.lane import Lane
from synaxis.queues.delivery.leases import Leases
from synaxis.queues.delivery.ordered_lane import OrderedLane
from synaxis.queues.delivery.shared_lane import SharedLane
from synaxis.queues.group import Group, Member
from synaxis.queues.offsets import OffsetSet
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Dead, Progress
from synaxis.queues.shard import Shard
from synaxis.queues.topic import Topic
from synaxis.simulation.planting import DISORDER, LOSS, Patch, planted
from synaxis.simulation.seeds import QUEUES
from synaxis.storage import message_memory
from synaxis.storage.message_file import SegmentFile
from synaxis.storage.message_store import MessageStore

Patches = Sequence[Patch]
in_queues = partial(planted, world=QUEUES)


# --- what is replicated ---------------------------------------------------------------------


@in_queues("ack-moves-the-floor", "an acknowledgement finishes everything before it too")
def _ack_moves_the_floor() -> Patches:
    finish = settling._finish

    def up_to(
        shard: Shard, topic: Topic, group: Group, progress: Progress, first: int, last: int
    ) -> int:
        return finish(shard, topic, group, progress, 0 if first == last else first, last)

    return [(settling, "_finish", up_to)]


@in_queues("nack-not-counted", "a failure is not counted")
def _nack_not_counted() -> Patches:
    fail_one = settling._Failing._fail_one

    def lenient(self: Any, progress: Progress, offset: int, reason: str, delay_ms: int) -> None:
        before = progress.failures.get(offset)
        fail_one(self, progress, offset, reason, delay_ms)
        after = progress.failures.get(offset)
        if before is not None and after is not None:
            progress.failures[offset] = msgspec.structs.replace(after, count=before.count)

    return [(settling._Failing, "_fail_one", lenient)]


@in_queues("failure-counted-twice", "the end of a lease counts although another delivery began")
def _failure_counted_twice() -> Patches:
    def unfenced(self: Any, progress: Progress, offset: int, _: int) -> bool:
        end = self.topic.partitions[progress.partition].next_offset
        return offset < end and offset not in progress.done

    return [(settling._Failing, "_is_current", unfenced)]


@in_queues("dead-letter-goes-on", "a dead letter is delivered again")
def _dead_letter_goes_on() -> Patches:
    def undead(self: Progress, offset: int, dead: Dead) -> None:
        self.dead[offset] = dead
        self.failures.pop(offset, None)

    return [(Progress, "bury", undead)]


@in_queues("redrive-keeps-the-letter", "a redriven message stays a dead letter as well")
def _redrive_keeps_the_letter() -> Patches:
    def copied(self: Progress, offset: int) -> None:
        self.done.remove(offset)

    return [(Progress, "revive", copied)]


@in_queues(
    "producers-not-in-snapshot", "a restore forgets which batches were stored", "snapshot", "crash"
)
def _producers_not_in_snapshot() -> Patches:
    def nothing(_: Producers, saved: list[SavedProducer]) -> None:
        del saved

    return [(Producers, "load", nothing)]


@in_queues("stored-twice", "a batch that a producer sends again is stored again")
def _stored_twice() -> Patches:
    def never(*_: object) -> Published | None:
        return None

    return [(Producers, "find", never)]


@in_queues("ids-noted-too-early", "the ids of a batch that was refused count as seen")
def _ids_noted_too_early() -> Patches:
    check_room = publishing._check_room

    def eager(shard: Shard, topic: Topic, partition: Partition, batch: Any) -> None:
        publishing._note_ids(topic, partition, batch, LogTime(1 << 50))
        check_room(shard, topic, partition, batch)

    return [(publishing, "_check_room", eager)]


@in_queues("ttl-ignored", "messages never expire")
def _ttl_ignored() -> Patches:
    return [(forgetting, "_expire_one", lambda *_: None)]


@in_queues("never-reclaimed", "what everybody has finished stays in the store")
def _never_reclaimed() -> Patches:
    return [(Shard, "reclaim", lambda *_: None), (Topic, "check_invariants", lambda _: None)]


@in_queues("forgotten-too-early", "a batch goes when its first message is finished")
def _forgotten_too_early() -> Patches:
    covers = OffsetSet.covers

    def hasty(self: OffsetSet, first: int, last: int) -> bool:
        return covers(self, first, last) or (first != last and covers(self, first, first))

    return [(OffsetSet, "covers", hasty)]


@in_queues("owner-replaced", "a partition goes to its next owner before the last one yields it")
def _owner_replaced() -> Patches:
    def at_once(self: Group) -> None:
        for ownership in self.owners.values():
            if ownership.target and ownership.owner != ownership.target:
                ownership.owner = ownership.target
                ownership.epoch += 1

    return [(Group, "_hand_over", at_once)]


@in_queues("dead-owner", "a member whose session ended keeps its partitions", "client_death")
def _dead_owner() -> Patches:
    def clinging(self: Group, number: int) -> Member | None:
        member = self.members.pop(number, None)
        if member is not None:
            self.epoch += 1
            self._retarget()
        return member

    return [(Group, "leave", clinging), (Group, "check_invariants", lambda _: None)]


# --- the leader's half ----------------------------------------------------------------------


@in_queues(
    "delivery-without-proof",
    "a leader delivers without having its leadership confirmed",
    "partition",
    "pause",
)
def _delivery_without_proof() -> Patches:
    read = Replica._read

    def believing(self: Replica, one: Read) -> None:
        if one.question is CONFIRMATION:
            self._attending.confirmed(self.stamp())
        else:
            read(self, one)

    return [(Replica, "_read", believing)]


@in_queues(
    "holdings-not-awaited",
    "a new leader delivers before it knows what members hold",
    "transfer",
    "crash",
)
def _holdings_not_awaited() -> Patches:
    return [(Flow, "_is_unknown", lambda *_: False)]


@in_queues("holdings-not-believed", "a leader does not note what members say they hold", "transfer")
def _holdings_not_believed() -> Patches:
    return [(Lane, "hold", lambda *_: None)]


@in_queues("key-not-pinned", "a key with messages in flight is given to anybody")
def _key_not_pinned() -> Patches:
    def anybody(self: OrderedLane, owner: Consumer | None) -> Any:
        del owner
        return self._free

    return [(OrderedLane, "_line_of", anybody), (OrderedLane, "check_reach", lambda *_: None)]


@in_queues("key-overtaken", "what waits for its time does not hold up its key")
def _key_overtaken() -> Patches:
    take_from = OrderedLane._take_from

    def impatient(
        self: OrderedLane,
        key: Any,
        consumer: Consumer,
        limit: int,
        now: LogTime,
        taken: list[int],
    ) -> None:
        if len(key.waiting) > 1:
            key.waiting.rotate(1)
        take_from(self, key, consumer, limit, now, taken)

    return [(OrderedLane, "_take_from", impatient), (OrderedLane, "check_reach", lambda *_: None)]


@in_queues(
    "ending-key-goes-on",
    "a key goes on while the end of one of its leases is in the log",
    DISORDER,
)
def _ending_key_goes_on() -> Patches:
    place = OrderedLane._place

    def end(self: OrderedLane, offset: int) -> None:
        Lane.end(self, offset)
        if offset in self._key_of:
            self._key_of[offset].ending += 1

    def blind(self: OrderedLane, key: Any, now: LogTime) -> None:
        ending, key.ending = key.ending, 0
        place(self, key, now)
        key.ending = ending

    return [
        (OrderedLane, "end", end),
        (OrderedLane, "_place", blind),
        (OrderedLane, "check_reach", lambda *_: None),
    ]


@in_queues(
    "stale-claim-believed",
    "what a member says of an overtaken delivery keeps the present one",
    DISORDER,
    LOSS,
)
def _stale_claim_believed() -> Patches:
    def anyhow(self: Lane, consumer: Consumer, parts: Sequence[Part]) -> list[int]:
        claimed = {at for part in parts for at in range(part.first, part.last + 1)}
        return [offset for offset, _ in self.held_by(consumer) if offset not in claimed]

    return [(Lane, "unclaimed", anyhow)]


@in_queues("urgent-last", "a delivery without room for all that is urgent takes the oldest of it")
def _urgent_last() -> Patches:
    take = SharedLane.take

    def by_offset(
        self: SharedLane, consumer: Consumer, limit: int, now: LogTime
    ) -> list[tuple[int, int]]:
        return sorted(take(self, consumer, limit, now))

    return [(SharedLane, "take", by_offset)]


@in_queues("delivered-too-early", "delays and pauses are not waited for")
def _delivered_too_early() -> Patches:
    return [(Lane, "ready_at", lambda *_: LogTime(0))]


@in_queues("lost-without-blame", "what a lost member held goes back uncounted", "client_death")
def _lost_without_blame() -> Patches:
    return [(Leases, "end_all", lambda *_: None)]


@in_queues("lease-too-short", "leases end after half of their time")
def _lease_too_short() -> Patches:
    def half(self: Consumer) -> int:
        return self.heard + self.member.visibility_ms // 2

    return [(Consumer, "silent_at", property(half))]


@in_queues("credit-ignored", "a member gets more than it has asked for")
def _credit_ignored() -> Patches:
    fill = Flow._fill

    def generous(
        self: Flow, consumer: Consumer, limit: int, live: int, now: LogTime
    ) -> list[Slice]:
        return fill(self, consumer, limit + 1, live, now)

    return [(Flow, "_fill", generous)]


@in_queues("neighbours-bytes", "a slice begins one record too early")
def _neighbours_bytes() -> Patches:
    one_slice = slices._slice

    def shifted(*arguments: Any) -> Slice:
        found = one_slice(*arguments)
        return msgspec.structs.replace(found, skip=max(0, found.skip - 1))

    return [(slices, "_slice", shifted)]


# --- the store ------------------------------------------------------------------------------


@in_queues(
    "store-not-synced",
    "a snapshot is written before what it refers to is synced",
    "snapshot",
    "power_cut",
)
def _store_not_synced() -> Patches:
    return [(MessageStore, "sync", lambda *_: None)]


@in_queues(
    "segment-removed-too-early",
    "a dropped segment goes although a snapshot refers to it",
    "snapshot",
    "slow_disk",
    "power_cut",
)
def _segment_removed_too_early() -> Patches:
    def greedy(self: message_memory.Group, kept: Any) -> list[message_memory.Segment]:
        del kept
        gone = [number for number, segment in self.segments.items() if not segment.live]
        return [self.segments.pop(number) for number in gone]

    return [(message_memory.Group, "take_unneeded", greedy)]


@in_queues("copied-to-the-wrong-place", "compaction notes where a unit was instead of where it is")
def _copied_to_the_wrong_place() -> Patches:
    move = BatchIndex.move

    def misplaced(self: BatchIndex, at: int, segment: int, position: int) -> None:
        move(self, at, segment, position and self.row(at).position)

    return [(BatchIndex, "move", misplaced)]


@in_queues(
    "gathered-not-synced",
    "what was gathered for a snapshot is not synced",
    "replace",
    "power_cut",
    "snapshot",
)
def _gathered_not_synced() -> Patches:
    def trusting(self: SegmentFile, length: int) -> None:
        self.trusted = max(self.trusted, length)
        self.synced = max(self.synced, length)

    return [(SegmentFile, "trust", trusting)]
