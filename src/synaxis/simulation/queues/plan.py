"""Who takes part in a world of queues, and how; drawn from the seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from synaxis.queues.commands import GroupMode
from synaxis.simulation.client import Client
from synaxis.simulation.kernel import MICROSECONDS_PER_MILLISECOND, Kernel
from synaxis.simulation.queues.ledger import Ledger
from synaxis.simulation.queues.setup import WALL_CLOCK_MS, QueueSetup

__all__ = [
    "ConsumerRole",
    "OperatorRole",
    "Plan",
    "ProducerRole",
    "ReaderRole",
    "Role",
    "draw_plan",
]

KEYS_MAX = 5
SPECIALS = ("delay", "priority", "ttl", "id")
SPECIAL_CHANCE = 0.3
ACTIONS = ("seek", "redrive", "purge_dead", "purge", "passing", "change", "pause")


@dataclass(frozen=True, slots=True)
class ProducerRole:
    """Publishes to a topic."""

    topic: str
    keys: tuple[str, ...]
    specials: tuple[str, ...]
    """What it makes use of: ``delay``, ``priority``, ``ttl``, ``id``."""


@dataclass(frozen=True, slots=True)
class ConsumerRole:
    """Consumes in a group."""

    topic: str
    group: str
    mode: GroupMode
    window: int
    """Messages that it takes at once."""
    auto_extend: bool
    announces: bool
    """Says which of the messages that failed before it begins to work on."""
    work_max: int
    """Longest work on a message (us)."""
    restlessness: float
    """Chance per step that it does something that nobody has to do."""


@dataclass(frozen=True, slots=True)
class OperatorRole:
    """Changes things that run."""

    actions: tuple[str, ...]
    pause_max: int
    """Longest pause between two actions (us)."""


@dataclass(frozen=True, slots=True)
class ReaderRole:
    """Asks about a topic."""

    topic: str


Role = ProducerRole | ConsumerRole | OperatorRole | ReaderRole


@dataclass(slots=True)
class Plan:
    """See the module; also what those who take part tell each other."""

    kernel: Kernel
    setup: QueueSetup
    ledger: Ledger
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

    @property
    def wall_ms(self) -> int:
        """What clocks on walls show now."""
        return WALL_CLOCK_MS + self.kernel.now // MICROSECONDS_PER_MILLISECOND

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return self.setup.topics[topic].config.partitions


def draw_plan(kernel: Kernel, setup: QueueSetup, ledger: Ledger) -> Plan:
    """Draw who does what."""
    random = kernel.stream("plan")
    plan = Plan(
        kernel,
        setup,
        ledger,
        resend_chance=random.choice((0.0, 0.05, 0.3)),
        poison_chance=random.choice((0.0, 0.02, 0.1)),
        backlog_max=random.choice((20, 100, 300)),
    )
    for topic in setup.topics:
        keys = tuple(f"k{n}" for n in range(random.randrange(KEYS_MAX + 1)))
        for _ in range(random.randrange(1, 3)):
            specials = tuple(each for each in SPECIALS if random.random() < SPECIAL_CHANCE)
            plan.roles.append(ProducerRole(topic, keys, specials))
        for number in range(random.randrange(1, 3)):
            plan.roles += _group(random, topic, f"group{number}")
        if random.random() < 0.5:
            plan.roles.append(ReaderRole(topic))
    if random.random() < 0.6:
        count = random.randrange(1, len(ACTIONS) + 1)
        actions = tuple(random.sample(ACTIONS, count))
        plan.roles.append(OperatorRole(actions, random.choice((1_000_000, 4_000_000))))
    return plan


def _group(random: Random, topic: str, name: str) -> list[Role]:
    mode = random.choice(list(GroupMode))
    auto_extend, announces = random.random() < 0.7, random.random() < 0.5
    return [
        ConsumerRole(
            topic,
            name,
            mode,
            random.choice((1, 4, 30)),
            auto_extend,
            announces,
            random.choice((5_000, 50_000, 400_000)),
            random.choice((0.0, 0.0, 0.002, 0.02)),
        )
        for _ in range(random.randrange(1, 4))
    ]
