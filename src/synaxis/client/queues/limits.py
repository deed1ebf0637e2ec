"""The cluster's limits as the SDK assumes them, so that it can refuse before a batch is refused."""

from synaxis.queues.limits import QueueLimits

__all__ = ["LIMITS"]

LIMITS = QueueLimits()
