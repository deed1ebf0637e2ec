"""A simulated member of a consumer group: works on what it is given, and settles it, or fails to.

It keeps to the rules of the SDK: what it holds it says when it attaches again; what it has settled
it goes on holding until the cluster has answered; in the ordered modes it works on one message of
a key at a time, and what it gives back takes along what follows.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from synaxis.effects import Refused
from synaxis.queues.commands import (
    ABSENT,
    Ack,
    Assignment,
    Attach,
    Begin,
    Credit,
    Detach,
    Extend,
    Extended,
    GroupMode,
    Join,
    Joined,
    Leave,
    Nack,
    Reject,
    Release,
    Settled,
    Yield,
)
from synaxis.simulation.client import LEASE_MARGIN
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND
from synaxis.simulation.queues.client import MemberStream, QueueClient
from synaxis.simulation.queues.holdings import Held, Holdings
from synaxis.simulation.queues.messages import POISON, Place, text_of
from synaxis.simulation.queues.plan import ConsumerRole, Plan
from synaxis.simulation.queues.records import unpack
from synaxis.simulation.queues.streams import Delivered
from synaxis.simulation.task import Script, Task

if TYPE_CHECKING:
    from synaxis.simulation.pending import Pending

__all__ = ["Consumer"]

STEP_MAX = 40_000
BREAK_CHANCE = 0.1
HURRY_MAX = 5_000
HURRY_WINDOW = 50
JOIN_PAUSE = 200_000
SILENCE_US = 1_000_000
"""A stream that says nothing for so long is probed, and after as long again given up."""
DETACHED_MAX = 1_500_000
ATTACH_PAUSE_MAX = 150_000
FATES = (("ack", 79), ("nack", 6), ("release", 8), ("reject", 2), ("extend", 4), ("forget", 1))
POISONED_FATES = (("nack", 50), ("die", 15), ("sleep", 15), ("forget", 20))


class Consumer:
    """One member after the other, each for the length of a session."""

    def __init__(self, plan: Plan, role: ConsumerRole, client: QueueClient) -> None:
        self._plan = plan
        self._role = role
        self._client = client
        self._random = client.random
        client.when_kept = self._kept
        self._begin()

    def _begin(self, member: int = 0) -> None:
        self._member = member
        self._visibility_ms = 0
        self._held = Holdings(self._role.mode)
        self._stream: MemberStream | None = None
        self._probed = False
        self._attach_at = 0
        self._fenced = False
        self._credit = 0
        """Messages that the leader may still send."""
        self._asks: deque[tuple[Place, ...]] = deque()
        """What is to be begun with each Extended that will come; nothing with most."""
        self._under_way: list[tuple[Pending, dict[Place, Held]]] = []
        self._yielding: set[int] = set()
        self._yield: Pending | None = None

    # --- the life of a member ------------------------------------------------------------------

    def script(self, task: Task) -> Script:
        """Return the life of the consumer."""
        client = self._client
        while not self._plan.drained:
            if not client.has_session():
                yield from client.open_session()
            if (yield from self._join(task)):
                yield from self._serve(task)
            else:
                yield JOIN_PAUSE
        yield from client.close_session()

    def _join(self, task: Task) -> Script:
        role = self._role
        self._begin(self._random.getrandbits(62) + 1)
        command = Join(
            role.topic,
            role.group,
            self._member,
            role.mode,
            auto_extend=role.auto_extend,
            announces=role.announces,
        )
        reply = yield task.submit(command)
        if isinstance(reply, Joined):
            self._visibility_ms = reply.visibility_ms
        return isinstance(reply, Joined)

    def _kept(self, asked_us: int) -> None:
        """The leader has heard of us at ``asked_us`` or later."""
        # In EXCLUSIVE mode a partition may be taken away, and what is held of it with it.
        if self._role.auto_extend and self._role.mode is not GroupMode.EXCLUSIVE:
            lease_us = self._visibility_ms * MICROSECONDS_PER_MILLISECOND
            trusted = asked_us + int(lease_us * LEASE_MARGIN)
            known = self._plan.ledger.trusted
            known[self._member] = max(known.get(self._member, 0), trusted)

    def _serve(self, task: Task) -> Script:
        client = self._client
        while client.has_session() and not self._fenced:
            if self._plan.drained:
                yield task.submit(Leave(self._role.topic, self._role.group, self._member))
                break
            self._listen()
            self._confirm()
            if self._plan.stopping:
                self._grant(HURRY_WINDOW)
            yield from self._work(task)
            self._yield_partitions(task)
            self._keep_attached()
            if self._random.random() < self._role.restlessness and not self._plan.stopping:
                yield from self._change_mind(task)
            yield 1 + int(self._random.random() * (HURRY_MAX if self._plan.stopping else STEP_MAX))
        if self._stream is not None:
            client.close_stream(self._stream)
        if self._fenced and client.has_session():
            # Who said that we are no member may have led no longer. As long as the session lives
            # a new leader would wait to hear what the member holds.
            yield task.submit(Leave(self._role.topic, self._role.group, self._member))

    def _change_mind(self, task: Task) -> Script:
        """Do something that nobody has to do."""
        role = self._role
        self._client.coverage.hit("queue.restless")
        choice = self._random.randrange(4)
        if choice == 0:
            yield task.submit(Leave(role.topic, role.group, self._member))
            self._fenced = True
            return
        if choice == 1:
            self._say(Detach(role.topic, role.group, self._member))
            yield 1 + int(self._random.random() * DETACHED_MAX)
        elif choice == 2 and self._credit > 0:
            self._say(Credit(role.topic, role.group, self._member, -self._credit))
            yield 1 + int(self._random.random() * DETACHED_MAX)
        if self._stream is not None:
            self._stream.broken = True  # attach again, though the leader may see no reason

    # --- the stream ------------------------------------------------------------------------------

    def _keep_attached(self) -> None:
        client, stream = self._client, self._stream
        now = client.kernel.now
        if stream is not None and not stream.broken:
            silence = now - stream.heard_us
            if silence > 2 * SILENCE_US and self._probed:
                stream.broken = True
                client.look_elsewhere()
            elif silence > SILENCE_US and not self._probed:
                self._probed = True
                self._ask(Extend(self._role.topic, self._role.group, self._member, (), 1))
            return
        if stream is not None:
            client.coverage.hit("queue.stream_broken")
            client.close_stream(stream)
            self._stream = None
            self._attach_at = now + int(self._random.random() * ATTACH_PAUSE_MAX)
        if now >= self._attach_at:
            self._attach()

    def _attach(self) -> None:
        role = self._role
        stream = self._stream = self._client.open_stream()
        self._probed = False
        self._credit = max(0, self._window - len(self._held))
        holding = self._held.parts(self._held)
        if holding:
            self._client.coverage.hit("queue.attached_with_holdings")
        self._asks.clear()
        stream.say(Attach(role.topic, role.group, self._member, self._credit, holding))

    def _ask(self, message: msgspec.Struct, *places: Place) -> None:
        """Say something that is answered by Extended; ``places`` are begun with the answer."""
        if self._stream is not None and not self._stream.broken:
            self._asks.append(places)
            self._stream.say(message)

    def _say(self, message: msgspec.Struct) -> None:
        if self._stream is not None and not self._stream.broken:
            self._stream.say(message)

    def _listen(self) -> None:
        stream = self._stream
        if stream is None:
            return
        inbox, stream.inbox = stream.inbox, []
        if inbox:
            self._probed = False
        for body in inbox:
            self._take(stream, body)

    def _take(self, stream: MemberStream, body: Any) -> None:  # noqa: ANN401  what a node says
        if isinstance(body, Delivered):
            for place, failures, data in unpack(body.records):
                self._plan.ledger.delivered(self._role.topic, place, data)
                self._credit -= 1
                former = self._held.get(place)
                begun = not (self._role.announces and failures)
                self._held[place] = Held(failures, text_of(data), begun=begun)
                if former is not None and not former.fate:
                    self._grant(1)  # its lease ran out
        elif isinstance(body, Assignment):
            self._yielding = set(body.yielding)
        elif isinstance(body, Extended):
            self._grant(self._held.lose(body.stale))
            for place in self._asks.popleft():
                if place in self._held:
                    self._held[place].begun = True
        elif isinstance(body, Refused):
            stream.broken = True
            if body.code == "not_leader":
                self._client.look_elsewhere(body.details.get("leader"))
            else:
                self._client.coverage.hit(f"queue.stream_{body.code}")
                self._fenced = True

    # --- the work -------------------------------------------------------------------------------

    def _work(self, task: Task) -> Script:
        now = self._client.kernel.now
        self._announce()
        decided: dict[str, list[Place]] = {}
        for place in self._held.at_hand(self._yielding):
            held = self._held[place]
            if not held.begun:
                continue
            if not held.done_at_us:
                work = 0 if self._plan.stopping else self._role.work_max
                held.done_at_us = 1 + now + int(self._random.random() * work)
            if held.done_at_us <= now:
                decided.setdefault(self._fate_of(held), []).append(place)
        for fate, places in decided.items():
            present = [place for place in places if place in self._held]
            if present:
                yield from getattr(self, f"_{fate}")(task, present)

    def _announce(self) -> None:
        """Say what we would work on next of what failed before."""
        asked = {place for places in self._asks for place in places}
        fresh = [each for each in self._held.at_hand(self._yielding) if not self._held[each].begun]
        fresh = [each for each in fresh if each not in asked]
        if fresh:
            self._client.coverage.hit("queue.begun")
            role = self._role
            parts = self._held.parts(fresh)
            self._ask(Begin(role.topic, role.group, self._member, parts), *fresh)

    def _fate_of(self, held: Held) -> str:
        if self._plan.stopping:
            return "nack" if held.text.kind == POISON else "ack"
        fates = POISONED_FATES if held.text.kind == POISON else FATES
        names, weights = zip(*fates, strict=True)
        (name,) = self._random.choices(names, weights)
        return str(name)

    def _settle(self, task: Task, fate: str, places: list[Place], command: msgspec.Struct) -> None:
        settled = {place: self._held[place] for place in places}
        for held in settled.values():
            held.fate = fate
        self._under_way.append((task.submit(command), settled))

    def _ack(self, task: Task, places: list[Place]) -> Script:
        role = self._role
        command = Ack(role.topic, role.group, self._member, self._held.parts(places))
        self._settle(task, "ack", places, command)
        yield 1

    def _nack(self, task: Task, places: list[Place]) -> Script:
        role = self._role
        delay_ms = self._random.choice((ABSENT, ABSENT, 0, 300))
        parts = self._held.parts(places)
        command = Nack(role.topic, role.group, self._member, parts, delay_ms, "simulated")
        self._settle(task, "nack", places, command)
        if self._stream is not None and self._random.random() < BREAK_CHANCE:
            self._stream.broken = True  # before the answer, and before it is delivered again
        yield 1

    def _reject(self, task: Task, places: list[Place]) -> Script:
        role = self._role
        command = Reject(
            role.topic, role.group, self._member, self._held.parts(places), "simulated"
        )
        self._settle(task, "reject", places, command)
        yield 1

    def _release(self, task: Task, places: list[Place]) -> Script:
        del task
        self._give_back(places + self._held.followers(places))
        yield 1

    def _give_back(self, places: list[Place]) -> None:
        if places:
            role = self._role
            parts = self._held.parts(places)
            for place in places:
                del self._held[place]
            self._say(Release(role.topic, role.group, self._member, parts))
            self._grant(len(places))

    def _extend(self, task: Task, places: list[Place]) -> Script:
        role = self._role
        del task
        parts = self._held.parts(places)
        self._ask(Extend(role.topic, role.group, self._member, parts, 1_000))
        for place in places:
            self._held[place].done_at_us = 0
        yield 1

    def _forget(self, task: Task, places: list[Place]) -> Script:
        """Hold on to something for so long that only the end of the lease brings it back."""
        del task
        for place in places:
            self._held[place].done_at_us = self._client.kernel.now + 8_000_000
        yield 1

    def _die(self, task: Task, places: list[Place]) -> Script:
        del task, places
        self._client.coverage.hit("queue.poison_killed")
        self._plan.lose(self._client)
        yield 1

    def _sleep(self, task: Task, places: list[Place]) -> Script:
        del task, places
        self._client.coverage.hit("queue.poison_stalled")
        self._client.pause(int(self._random.random() * 6_000_000))
        yield 1

    # --- confirmations ----------------------------------------------------------------------

    def _confirm(self) -> None:
        going = []
        for pending, settled in self._under_way:
            if not pending.answered:
                going.append((pending, settled))
                continue
            body = pending.body
            command = pending.payload.command
            if isinstance(body, Settled) and body.stale:
                self._client.coverage.hit("queue.settled_too_late")
            if isinstance(body, Refused) and body.code == "consumer_fenced":
                self._fenced = True
            # What was delivered again before the answer came is another delivery.
            ours = [place for place, held in settled.items() if self._held.get(place) is held]
            followers = self._held.followers(ours) if isinstance(command, Nack) else []
            for place in ours:
                del self._held[place]
            self._give_back(followers)
            self._grant(len(settled))
        self._under_way = going

    @property
    def _window(self) -> int:
        return max(self._role.window, HURRY_WINDOW if self._plan.stopping else 0)

    def _grant(self, count: int) -> None:
        more = min(count, self._window - len(self._held) - self._credit)
        if more > 0:
            self._credit += more
            self._say(Credit(self._role.topic, self._role.group, self._member, more))

    def _yield_partitions(self, task: Task) -> None:
        if self._yield is not None and not self._yield.answered:
            return
        self._yield = None
        role = self._role
        ready = []
        for partition in sorted(self._yielding):
            self._give_back(self._held.idle_in(partition))
            if not any(place.partition == partition for place in self._held):
                ready.append(partition)
        if ready:
            self._yielding -= set(ready)
            self._yield = task.submit(Yield(role.topic, role.group, self._member, tuple(ready)))
