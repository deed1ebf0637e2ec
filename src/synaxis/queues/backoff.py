"""When a message that failed comes again: exponential back-off with jitter, without randomness.

The jitter spreads messages that failed together; it is a hash of offset and count, so that all
replicas agree on it.

Source: Brooker, "Exponential Backoff and Jitter" (2015).
"""

from struct import pack
from zlib import crc32

from synaxis.topics import TopicConfig

__all__ = ["JITTER", "backoff_ms"]

JITTER = 0.2
"""A pause is up to this part shorter or longer."""
_DOUBLINGS_MAX = 40


def backoff_ms(config: TopicConfig, offset: int, failures: int) -> int:
    """Return the pause after the ``failures``-th failure of the message at ``offset``."""
    doublings = min(failures - 1, _DOUBLINGS_MAX)
    pause = min(config.backoff_max_ms, config.backoff_first_ms << doublings)
    draw = crc32(pack("<QI", offset, failures)) / 0xFFFFFFFF
    return max(0, round(pause * (1 + JITTER * (2 * draw - 1))))
