"""Fills the roles of a plan with clients, again when one of them has died."""

from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.queues.client import QueueClient
from synaxis.simulation.queues.consumer import Consumer
from synaxis.simulation.queues.operator import Operator, Reader
from synaxis.simulation.queues.plan import ConsumerRole, OperatorRole, Plan, ProducerRole, Role
from synaxis.simulation.queues.producer import Producer

__all__ = ["QueueWorkload"]


class QueueWorkload:
    """Implements ``cluster.Workload``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clients: list[Client | None] = [None] * len(plan.roles)

    @property
    def stopping(self) -> bool:
        """See ``cluster.Workload``."""
        return self.plan.stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self.plan.stopping = value

    def wants_more(self) -> bool:
        """Return whether a role is free that still has something to do."""
        return self._vacancy() is not None

    def _vacancy(self) -> int | None:
        for at, client in enumerate(self.clients):
            role = self.plan.roles[at]
            is_needed = not self.plan.stopping or isinstance(role, ConsumerRole | OperatorRole)
            if (client is None or client.dead) and is_needed:
                return at
        return None

    def enlist(self, name: str, site: ClientSite, config: ClientConfig, *, reader: bool) -> Client:
        """Return a new client in the first free role, at work."""
        del reader
        at = self._vacancy()
        assert at is not None
        client = self.clients[at] = QueueClient(name, site, config)
        self._begin(client, self.plan.roles[at])
        return client

    def _begin(self, client: QueueClient, role: Role) -> None:
        if isinstance(role, ProducerRole):
            client.run(Producer(self.plan, role).script)
        elif isinstance(role, ConsumerRole):
            client.run(Consumer(self.plan, role, client).script)
        elif isinstance(role, OperatorRole):
            client.run(Operator(self.plan, role).script)
        else:
            client.run(Reader(self.plan, role).script)
