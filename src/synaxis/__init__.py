"""Synaxis: a coordination cluster for Python. This package's public API, and nothing else.

Names are loaded when they are first used, so that ``import synaxis`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synaxis.client.cluster import AsyncSynaxis, connect
    from synaxis.client.grants import Grant, GrantState
    from synaxis.errors import (
        AuthenticationRequired,
        BarrierBroken,
        ClientError,
        ClusterError,
        ConnectionFailed,
        DeadlockError,
        InvalidArgument,
        LimitExceeded,
        LockLost,
        LockNotHeld,
        LockTimeout,
        MembershipRefused,
        NoQuorum,
        NotFound,
        NotLeader,
        OutcomeUnknown,
        Overloaded,
        PermissionDenied,
        RequestTimeout,
        SessionExpired,
        StaleFencingToken,
        SynaxisError,
    )

__version__ = "0.1.0"

__all__ = [
    "AsyncSynaxis",
    "AuthenticationRequired",
    "BarrierBroken",
    "ClientError",
    "ClusterError",
    "ConnectionFailed",
    "DeadlockError",
    "Grant",
    "GrantState",
    "InvalidArgument",
    "LimitExceeded",
    "LockLost",
    "LockNotHeld",
    "LockTimeout",
    "MembershipRefused",
    "NoQuorum",
    "NotFound",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "PermissionDenied",
    "RequestTimeout",
    "SessionExpired",
    "StaleFencingToken",
    "SynaxisError",
    "__version__",
    "connect",
]

_HOMES = {
    "AsyncSynaxis": "synaxis.client.cluster",
    "Grant": "synaxis.client.grants",
    "GrantState": "synaxis.client.grants",
    "connect": "synaxis.client.cluster",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'synaxis' has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES.get(name, "synaxis.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
