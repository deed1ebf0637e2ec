"""Who takes part in a world of queues, and how; drawn from the seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from synaxis.queues.commands import GroupMode
from synaxis.simulation.client import Client
from synaxis.simulation.queues.setup import QueueSetup

__all__ = ["ConsumerRole", "Plan", "ProducerRole", "Role", "draw_plan"]

KEYS_MAX = 5


@dataclass(frozen=True, slots=True)
class ProducerRole:
    """Publishes to a topic."""

    topic: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConsumerRole:
    """Consumes in a group."""

    topic: str
    group: str
    mode: GroupMode
    window: int
    """Messages that it takes at once."""
    auto_extend: bool
    work_max: int
    """Longest work on a message (us)."""


Role = ProducerRole | ConsumerRole


@dataclass(slots=True)
class Plan:
    """See the module; also what those who take part tell each other."""

    setup: QueueSetup
    roles: list[Role] = field(default_factory=list)
    resend_chance: float = 0.05
    poison_chance: float = 0.05
    backlog_max: int = 100
    """Producers wait while a group has more than this before it."""
    backlog: int = 0
    """What the group that is most behind has before it, as of a moment ago."""
    stopping: bool = False
    """Nothing more is published; what is there is consumed, and nobody dies."""
    drained: bool = False
    """Everything is consumed."""
    lose: Callable[[Client], None] = lambda _: None
    """Lets a client die."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return self.setup.topics[topic].config.partitions


def draw_plan(random: Random, setup: QueueSetup) -> Plan:
    """Draw who does what."""
    plan = Plan(
        setup,
        resend_chance=random.choice((0.0, 0.05, 0.3)),
        poison_chance=random.choice((0.0, 0.02, 0.1)),
        backlog_max=random.choice((20, 100, 300)),
    )
    for topic in setup.topics:
        keys = tuple(f"k{n}" for n in range(random.randrange(KEYS_MAX + 1)))
        for _ in range(random.randrange(1, 3)):
            plan.roles.append(ProducerRole(topic, keys))
        for number in range(random.randrange(1, 3)):
            plan.roles += _group(random, topic, f"group{number}")
    return plan


def _group(random: Random, topic: str, name: str) -> list[Role]:
    mode = random.choice(list(GroupMode))
    auto_extend = random.random() < 0.7
    return [
        ConsumerRole(
            topic,
            name,
            mode,
            random.choice((1, 4, 30)),
            auto_extend,
            random.choice((5_000, 50_000, 400_000)),
        )
        for _ in range(random.randrange(1, 4))
    ]
