"""The agents' streams at the node that leads: hears what they say, carries what they are told."""

from collections.abc import Callable

import msgspec

from synaxis.caches.bus import Attach, Detached
from synaxis.effects import refusal
from synaxis.errors import SynaxisError
from synaxis.simulation.caches.streams import Hangup, HomeStream, Say, Tell
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.network import Network

__all__ = ["Hub"]

Demand = Callable[[msgspec.Struct, HomeStream], None]


class Hub:
    """See the module. One process."""

    def __init__(self, kernel: Kernel, network: Network, node: str, demand: Demand) -> None:
        self._kernel = kernel
        self._network = network
        self._node = node
        self._demand = demand
        self._streams: dict[tuple[str, int], HomeStream] = {}

    def hear(self, place: str, say: Say) -> None:
        """Take what an agent says, unless something before it is missing."""
        key = (place, say.stream)
        stream = self._streams.get(key)
        if stream is None and say.serial == 0 and isinstance(say.message, Attach):
            self._forget_older(place)
            stream = self._streams[key] = HomeStream(place, say.stream)
        if stream is None or stream.heard != say.serial:
            self._streams.pop(key, None)
            self._network.flow(self._node, place, Hangup(say.stream))
            return
        stream.heard += 1
        try:
            self._demand(say.message, stream)
        except SynaxisError as error:
            self._send(stream, refusal(error))
            self._streams.pop(key, None)

    def _forget_older(self, place: str) -> None:
        for key in [key for key in self._streams if key[0] == place]:
            del self._streams[key]

    def tell(self, stream: HomeStream, message: msgspec.Struct) -> None:
        """Tell an agent something, after what it was told before."""
        key = (stream.place, stream.number)
        if self._streams.get(key) is stream:
            self._send(stream, message)
            if isinstance(message, Detached):
                del self._streams[key]

    def _send(self, stream: HomeStream, message: msgspec.Struct) -> None:
        told = Tell(stream.number, stream.said, message)
        stream.said += 1
        if self._kernel.verbose:
            self._kernel.note(self._node, "->", stream.place, told)
        self._network.flow(self._node, stream.place, told)
