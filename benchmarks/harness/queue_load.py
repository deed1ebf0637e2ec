"""Runs one form of publishing or consuming against a queue system and measures it."""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.harness.cpu import CpuMeter
from benchmarks.harness.load import run_async
from benchmarks.harness.statistics import percentile
from benchmarks.harness.systems import MESSAGE_BYTES, QueueClient, QueueSystem
from benchmarks.harness.tally import Tally

__all__ = [
    "DeliveryRun",
    "Form",
    "QueueRun",
    "measure_consuming",
    "measure_deliveries",
    "measure_publishing",
]

_WARM_UP_S = 0.5
_WARM_UP_MESSAGES = 0.05
"""Of a run's messages, consumed before it."""
_GIVE_UP_S = 120.0
_PAUSE_S = 0.005
_JITTER_S = 0.01
_STRAGGLER_S = 5.0

_T = TypeVar("_T")
Form = Callable[[QueueClient, Tally], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class QueueRun:
    """One measured run of one form."""

    system: str
    seconds: float
    """Length of the window that the rate is counted in."""
    in_time: int
    """Messages confirmed inside the window."""
    messages: int
    """All messages of the run, which its CPU time is divided by."""
    client_cpu_seconds: float
    server_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.in_time / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per message, user + system of all processes."""
        return self.client_cpu_us + self.server_cpu_us

    @property
    def client_cpu_us(self) -> float:
        """Microseconds of the client's CPU per message."""
        return 1e6 * self.client_cpu_seconds / self.messages

    @property
    def server_cpu_us(self) -> float:
        """Microseconds of all server processes' CPU per message."""
        return 1e6 * self.server_cpu_seconds / self.messages

    def as_json(self) -> dict[str, Any]:
        """Return the summary that the result file keeps."""
        return {
            "system": self.system,
            "seconds": round(self.seconds, 3),
            "messages": self.messages,
            "rate_per_s": round(self.rate, 1),
            "cpu_us_per_message": round(self.cpu_us, 2),
            "cpu_us_per_message_client": round(self.client_cpu_us, 2),
            "cpu_us_per_message_servers": round(self.server_cpu_us, 2),
        }


@dataclass(frozen=True)
class DeliveryRun:
    """Seconds from the call of publish to the consumer, message by message on an idle queue."""

    system: str
    delivery_seconds: list[float] = field(repr=False)

    def delivery_ms(self, percent: float) -> float:
        """Return a percentile, in milliseconds."""
        return 1e3 * percentile(self.delivery_seconds, percent)

    def as_json(self) -> dict[str, Any]:
        """Return the summary that the result file keeps."""
        return {
            "system": self.system,
            "messages": len(self.delivery_seconds),
            "delivery_ms_p50": round(self.delivery_ms(50), 3),
            "delivery_ms_p99": round(self.delivery_ms(99), 3),
            "delivery_ms_max": round(self.delivery_ms(100), 3),
        }


def measure_publishing(
    system: QueueSystem, form: Form, seconds: float, *, emptied: bool = True
) -> QueueRun:
    """Publish for ``seconds``, after a short warm-up; into an empty queue if not said otherwise."""

    async def measured() -> QueueRun:
        async with system.connect() as client:
            if emptied:
                await client.empty()
            await form(client, _begun(_WARM_UP_S))
            return await _measured(system, client, form, _begun(seconds))

    return _run(measured())


def measure_consuming(system: QueueSystem, form: Form, messages: int, seconds: float) -> QueueRun:
    """Consume ``messages`` that lie ready, a few of them as warm-up; stop after ``seconds``."""
    warm_up = int(messages * _WARM_UP_MESSAGES)

    async def measured() -> QueueRun:
        async with system.connect() as client:
            await client.stock(warm_up)
            await form(client, Tally(seconds, warm_up))
            await client.stock(messages)
            return await _measured(system, client, form, Tally(seconds, messages))

    return _run(measured())


def measure_deliveries(system: QueueSystem, seconds: float) -> DeliveryRun:
    """Publish one message every few milliseconds while a consumer waits."""
    return DeliveryRun(system.name, _run(_deliveries(system, seconds)))


def _begun(seconds: float) -> Tally:
    tally = Tally(seconds)
    tally.begin()
    return tally


def _run(measured: Coroutine[Any, Any, _T]) -> _T:
    async def bounded() -> _T:
        async with asyncio.timeout(_GIVE_UP_S):
            return await measured

    gc.collect()
    return run_async(bounded())


async def _measured(system: QueueSystem, client: QueueClient, form: Form, tally: Tally) -> QueueRun:
    meter = CpuMeter(system.server_pids())
    meter.start()
    await form(client, tally)
    meter.stop()
    return QueueRun(
        system=system.name,
        seconds=tally.window_seconds,
        in_time=tally.in_time,
        messages=tally.total,
        client_cpu_seconds=meter.client_seconds,
        server_cpu_seconds=meter.server_seconds,
    )


async def _deliveries(system: QueueSystem, seconds: float) -> list[float]:
    """Number the messages, and note for each when it was published and when it arrived."""
    clock = time.perf_counter
    published: list[float] = []
    delivered: dict[int, float] = {}

    def arrived(payload: bytes) -> None:
        delivered.setdefault(int.from_bytes(payload[:8], "little"), clock())

    async with system.connect() as client:
        await client.empty()
        async with client.listening(arrived):
            until = clock() + seconds
            while clock() < until:
                payload = len(published).to_bytes(8, "little").ljust(MESSAGE_BYTES, b"\0")
                published.append(clock())
                await client.publish(payload)
                await asyncio.sleep(_PAUSE_S + random.uniform(0, _JITTER_S))  # noqa: S311
            await _wait_for(lambda: len(delivered) == len(published))
    return [delivered[number] - started for number, started in enumerate(published)]


async def _wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_STRAGGLER_S):
        while not condition():  # noqa: ASYNC110 - the consumer's code is the measured system's
            await asyncio.sleep(_PAUSE_S)
