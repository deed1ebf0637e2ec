"""Commands and questions of clients that wait at a home, by the tokens that stand for them."""

from synaxis.caches.directory import Ticket
from synaxis.errors import BackingUnavailable, Overloaded, SynaxisError

__all__ = ["Held"]


class Held:
    """See the module. A token is in exactly one place: waiting, or in one of the lists to take."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._waiting: dict[int, object] = {}
        self._released: list[object] = []
        self._questions: list[object] = []
        self._refusals: list[tuple[object, SynaxisError]] = []

    def take_in(self, token: object) -> None:
        """Keep a token.

        Raises:
            Overloaded: too many wait.
        """
        if len(self._waiting) >= self._maximum:
            raise Overloaded("too much waits for cache agents", limit="held_max")
        self._waiting[id(token)] = token

    def release(self, token: object) -> None:
        """The log may have the command."""
        if self._waiting.pop(id(token), None) is not None:
            self._released.append(token)

    def refuse(self, token: object, error: SynaxisError) -> None:
        """The log must not have the command any more."""
        if self._waiting.pop(id(token), None) is not None:
            self._refusals.append((token, error))

    def ask(self, ticket: Ticket, token: object) -> None:
        """The question can be answered, or not at all, if the backing store was asked in vain."""
        if self._waiting.pop(id(token), None) is None:
            return
        if ticket.failed:
            error = BackingUnavailable("the store behind the cache does not answer")
            self._refusals.append((token, error))
        else:
            self._questions.append(token)

    def is_open(self) -> bool:
        """Whether something can be taken."""
        return bool(self._released or self._questions or self._refusals)

    def take_released(self) -> list[object]:
        """Drain the tokens of commands for the log."""
        released, self._released = self._released, []
        return released

    def take_questions(self) -> list[object]:
        """Drain the tokens of questions that can be answered."""
        questions, self._questions = self._questions, []
        return questions

    def take_refusals(self) -> list[tuple[object, SynaxisError]]:
        """Drain (token, why not)."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def drop(self) -> list[object]:
        """Forget everything, and return the tokens."""
        refused = [token for token, _ in self.take_refusals()]
        waiting, self._waiting = list(self._waiting.values()), {}
        return self.take_released() + self.take_questions() + refused + waiting
