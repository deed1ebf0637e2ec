"""What all parts of the caches of one client share."""

from random import Random

from synaxis.client.caller import Caller

__all__ = ["Context"]


class Context:
    """The client's sessions and connections, for as long as it is open."""

    __slots__ = ("caller", "closed", "name", "random", "router")

    def __init__(self, caller: Caller, random: Random) -> None:
        self.caller = caller
        self.router = caller.pool.router
        self.random = random
        self.name = caller.label.decode(errors="replace")
        """The client's, shown to people beside what it holds."""
        self.closed = False

    def check(self) -> None:
        """Refuse to begin anything in a client that is closed: nobody would end it.

        Raises:
            RuntimeError: it is.
        """
        if self.closed:
            raise RuntimeError("the client is closed")
