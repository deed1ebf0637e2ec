"""A simulated producer: numbers its batches, and sends each again until its fate is known."""

from struct import pack

from synaxis.effects import Refused
from synaxis.queues.commands import Publish, Published, RecordBatch
from synaxis.simulation.pending import Pending
from synaxis.simulation.queues.messages import PLAIN, POISON, Text, record
from synaxis.simulation.queues.plan import Plan, ProducerRole
from synaxis.simulation.task import Script, Task

__all__ = ["Producer"]

BATCH_MAX = 6
UNDER_WAY_MAX = 4
FINAL = frozenset({"outcome_unknown", "limit_exceeded"})
PLAIN_CHANCE = 0.4
"""That a batch makes no use of something which its producer uses."""
ID_BACK = 6
"""How far back ids go that are used again."""
RETRY_PAUSE_MAX = 300_000


class Producer:
    """One producer; its numbers outlive its sessions."""

    def __init__(self, plan: Plan, role: ProducerRole) -> None:
        self._plan = plan
        self._role = role
        self._number = 0
        self._sequences: dict[int, int] = {}
        self._named = 0

    def script(self, task: Task) -> Script:
        """Return the life of the producer."""
        client = task.client
        self._number = task.random.getrandbits(62) + 1
        while not self._plan.stopping:
            if not task.has_session():
                yield from client.open_session()
            yield 1 + int(task.random.random() * task.config.think_max)
            if self._plan.backlog > self._plan.backlog_max:
                continue
            count = task.random.randrange(1, UNDER_WAY_MAX + 1)
            commands = [self._publish(task) for _ in range(count)]
            yield from self._deliver(task, commands)
        yield from client.close_session()

    def _deliver(self, task: Task, commands: list[Publish]) -> Script:
        """Send batches side by side, and again until each is stored or refused for good."""
        while commands:
            if not task.has_session():
                yield from task.client.open_session()
            pending = [(task.submit(command), command) for command in commands]
            commands = []
            for each, command in pending:
                if not each.answered:
                    yield each
                if not self._is_settled(task, each):
                    commands.append(command)
            if commands:
                yield 1 + int(task.random.random() * RETRY_PAUSE_MAX)
            elif task.random.random() < self._plan.resend_chance:
                task.coverage.hit("queue.sent_again")
                commands = [task.random.choice(pending)[1]]

    def _is_settled(self, task: Task, pending: Pending) -> bool:
        body = pending.body
        if isinstance(body, Published):
            if body.duplicate:
                task.coverage.hit("queue.duplicate_recognised")
            return True
        if isinstance(body, Refused):
            task.coverage.hit(f"queue.publish_{body.code}")
            return self._plan.stopping or body.code in FINAL
        return False  # the session is gone

    def _publish(self, task: Task) -> Publish:
        random, role = task.random, self._role
        partition = random.randrange(self._plan.partitions(role.topic))
        sequence = self._sequences[partition] = self._sequences.get(partition, 0) + 1
        texts = [self._text(task) for _ in range(random.randrange(1, BATCH_MAX + 1))]
        records = [record(text, random) for text in texts]
        count = len(records)
        keyed = any(text.key for text in texts)
        batch = RecordBatch(
            pack(f"<{count}I", *map(len, records)),
            b"".join(records),
            pack(f"<{count}I", *(text.key_hash for text in texts)) if keyed else b"",
            bytes(self._some(task, "priority", count, (0, 1, 9))),
            self._some(task, "delay", count, (0, 50, 1_500)),
            self._some(task, "ttl", count, (0, 0, 100, 2_000)),
            self._ids(task, count),
        )
        return Publish(role.topic, partition, self._number, sequence, batch)

    def _some(
        self, task: Task, special: str, count: int, choices: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Return a column of a batch, or nothing."""
        if special not in self._role.specials or task.random.random() < PLAIN_CHANCE:
            return ()
        return tuple(task.random.choices(choices, k=count))

    def _ids(self, task: Task, count: int) -> tuple[str, ...]:
        """Return ids, some of which were there before."""
        chosen = self._some(task, "id", count, tuple(range(-ID_BACK, 1)))
        return tuple(f"{self._number}/{max(0, self._named + each)}" for each in chosen)

    def _text(self, task: Task) -> Text:
        random, role = task.random, self._role
        self._named += 1
        key = random.choice(role.keys) if role.keys and random.random() < 0.8 else ""
        kind = POISON if random.random() < self._plan.poison_chance else PLAIN
        return Text(f"{task.client.name}/{self._named}", key, kind)
