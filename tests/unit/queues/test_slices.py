"""From offsets to places on disk, as far as there is room."""

from support.queue_service import QueueService
from synaxis.queues.commands import Slice
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress
from synaxis.queues.slices import slices_of, slices_within


def stored(*batches: tuple[int, int]) -> tuple[Partition, Progress]:
    """A partition of batches (messages, bytes each)."""
    made = QueueService()
    made.configure()
    made.member(credit=0)
    for messages, size in batches:
        made.publish(*[b"m" * size] * messages)
    topic = made.machine.shard.topics["t"]
    return topic.partitions[0], topic.groups["g"].progress[0]


def spans(slices: list[Slice]) -> list[tuple[int, int, int]]:
    return [(each.first, each.count, each.skip) for each in slices]


def test_a_range_over_several_batches_is_a_slice_of_each() -> None:
    partition, _ = stored((3, 1), (2, 1), (3, 1))
    assert spans(slices_of(partition, [(1, 5)])) == [(1, 2, 1), (3, 2, 0), (5, 1, 0)]


def test_what_is_not_stored_any_more_is_left_out() -> None:
    partition, _ = stored((1, 1), (1, 1), (1, 1))
    partition.forget(1)
    assert spans(slices_of(partition, [(0, 2)])) == [(0, 1, 0), (2, 1, 0)]


def test_as_much_is_taken_as_fits_and_the_rest_is_named() -> None:
    partition, progress = stored((4, 84), (2, 84))  # 91 bytes each with the unit's own
    found, size, rest = slices_within(partition, [(1, 5)], progress, 250, at_least=1)
    assert (spans(found), size, rest) == ([(1, 2, 1)], 182, [(3, 3), (4, 5)])


def test_one_message_fits_however_large_it_is() -> None:
    partition, progress = stored((2, 500))
    found, _, rest = slices_within(partition, [(0, 1)], progress, 10, at_least=1)
    assert (spans(found), rest) == ([(0, 1, 0)], [(1, 1)])
    found, size, rest = slices_within(partition, [(0, 1)], progress, 10, at_least=0)
    assert (found, size, rest) == ([], 0, [(0, 1)])


def test_after_one_that_does_not_fit_smaller_ones_do_not_overtake() -> None:
    partition, progress = stored((1, 50), (1, 500), (1, 1))
    found, _, rest = slices_within(partition, [(0, 2)], progress, 100, at_least=1)
    assert (spans(found), rest) == ([(0, 1, 0)], [(1, 1), (2, 2)])
