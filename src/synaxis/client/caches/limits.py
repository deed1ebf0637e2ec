"""The cluster's limits as the SDK assumes them, so that it can refuse before a node does."""

from synaxis.caches.limits import CacheLimits

__all__ = ["LIMITS"]

LIMITS = CacheLimits()
