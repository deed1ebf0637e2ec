"""What a node tells about itself: metrics, logs and health. Shells fill it; nothing here decides.

Invariant: the hot path only adds to plain integers (``counters``); names, labels and text are
made when somebody asks (``metrics``).

Read first: ``counters.py``, then ``metrics.py``.
"""

from synaxis.observability.counters import LatencyHistogram, LinkCounters, NodeCounters
from synaxis.observability.health import HealthChecks, HealthReport
from synaxis.observability.logs import configure_logging
from synaxis.observability.metrics import (
    GroupSample,
    LockSample,
    Metrics,
    NodeSample,
    PeerSample,
)

__all__ = [
    "GroupSample",
    "HealthChecks",
    "HealthReport",
    "LatencyHistogram",
    "LinkCounters",
    "LockSample",
    "Metrics",
    "NodeCounters",
    "NodeSample",
    "PeerSample",
    "configure_logging",
]
