"""Pauses double up to a maximum, spread by a jitter that all replicas agree on."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.queues.backoff import JITTER, backoff_ms
from synaxis.topics import TopicConfig

CONFIG = TopicConfig(backoff_first_ms=1_000, backoff_max_ms=60_000)


@given(st.integers(0, 2**63), st.integers(1, 1_000))
def test_a_pause_is_the_doubled_one_within_the_jitter(offset: int, failures: int) -> None:
    middle = min(60_000, 1_000 * 2 ** (failures - 1))
    pause = backoff_ms(CONFIG, offset, failures)
    assert middle * (1 - JITTER) - 1 <= pause <= middle * (1 + JITTER) + 1


def test_messages_that_failed_together_come_back_apart() -> None:
    pauses = [backoff_ms(CONFIG, offset, 1) for offset in range(100)]
    assert len(set(pauses)) > 50
    assert pauses == [backoff_ms(CONFIG, offset, 1) for offset in range(100)]


def test_without_a_back_off_it_comes_again_at_once() -> None:
    config = TopicConfig(backoff_first_ms=0, backoff_max_ms=0)
    assert backoff_ms(config, 1, 5) == 0
