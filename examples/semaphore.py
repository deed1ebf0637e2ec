"""At most four units of a scarce thing in use at once, by jobs of different weight.

Run it against ``synaxis up``.
"""

import asyncio

import synaxis

PERMITS = 4


class Meter:
    """Remembers how much was in use at most."""

    def __init__(self) -> None:
        self.used = 0
        self.peak = 0

    def change(self, weight: int) -> None:
        """Count ``weight`` units as taken, or given back when negative."""
        self.used += weight
        self.peak = max(self.peak, self.used)


async def train(cluster: synaxis.AsyncSynaxis, job: int, weight: int, meter: Meter) -> None:
    """Use ``weight`` of the four units for a moment."""
    async with cluster.semaphore("gpu", permits=PERMITS).acquire(weight=weight):
        meter.change(weight)
        print(f"job {job} uses {weight}, in use: {meter.used} of {PERMITS}")
        await asyncio.sleep(0.05)
        meter.change(-weight)


async def main() -> None:
    """Run eight jobs; the heavy ones need two units."""
    meter = Meter()
    async with synaxis.connect() as cluster, asyncio.TaskGroup() as jobs:
        for job in range(8):
            jobs.create_task(train(cluster, job, 1 + job % 2, meter))
    print(f"at most {meter.peak} of {PERMITS} were in use")


if __name__ == "__main__":
    asyncio.run(main())
