"""Synaxis: a coordination cluster for Python. This package's public API, and nothing else.

Names are loaded when they are first used, so that ``import synaxis`` costs next to nothing.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; importing it would cost more than we do
if TYPE_CHECKING:
    from synaxis.client.caches.cache import (
        Cache,
    )
    from synaxis.client.caches.entries import (
        MISS,
        CacheStats,
        Entry,
    )
    from synaxis.client.cluster import (
        AsyncSynaxis,
        connect,
    )
    from synaxis.client.election import (
        Leader,
    )
    from synaxis.client.fencing import (
        AsyncpgFence,
        AsyncRedisFence,
        FenceMiddleware,
        FenceStore,
        MemoryFenceStore,
        RedisFence,
        SqlFence,
        SqliteFence,
        fence_middleware,
        fence_sql,
    )
    from synaxis.client.grants import (
        Grant,
        GrantState,
    )
    from synaxis.client.lock_admin import (
        LockState,
    )
    from synaxis.client.lock_many import (
        GrantSet,
    )
    from synaxis.client.queues.batch import (
        Batch,
    )
    from synaxis.client.queues.codecs import (
        Codec,
    )
    from synaxis.client.queues.consumer import (
        Consumer,
    )
    from synaxis.client.queues.dead_letters import (
        DeadMessage,
    )
    from synaxis.client.queues.message import (
        Message,
        StoredMessage,
    )
    from synaxis.client.queues.outgoing import (
        Publication,
        Receipt,
    )
    from synaxis.client.queues.states import (
        GroupState,
        TopicState,
    )
    from synaxis.client.queues.topic import (
        Topic,
    )
    from synaxis.client.queues.topics import (
        Backoff,
        TopicSettings,
    )
    from synaxis.client.sync import (
        Synaxis,
    )
    from synaxis.client.watching import (
        LockChange,
    )
    from synaxis.errors import (
        AlreadyExists,
        AuthenticationRequired,
        BackingUnavailable,
        ClientError,
        ClusterError,
        ConnectionFailed,
        ConsumerFenced,
        DeadlockError,
        InvalidArgument,
        LeaseLost,
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
        VersionConflict,
    )

    __version__: str

__all__ = [  # noqa: RUF022  # in the order of dir()
    "AlreadyExists",
    "AsyncRedisFence",
    "AsyncSynaxis",
    "AsyncpgFence",
    "AuthenticationRequired",
    "BackingUnavailable",
    "Backoff",
    "Batch",
    "Cache",
    "CacheStats",
    "ClientError",
    "ClusterError",
    "Codec",
    "ConnectionFailed",
    "Consumer",
    "ConsumerFenced",
    "DeadMessage",
    "DeadlockError",
    "Entry",
    "FenceMiddleware",
    "FenceStore",
    "Grant",
    "GrantSet",
    "GrantState",
    "GroupState",
    "InvalidArgument",
    "Leader",
    "LeaseLost",
    "LimitExceeded",
    "LockChange",
    "LockLost",
    "LockNotHeld",
    "LockState",
    "LockTimeout",
    "MISS",
    "MembershipRefused",
    "MemoryFenceStore",
    "Message",
    "NoQuorum",
    "NotFound",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "PermissionDenied",
    "Publication",
    "Receipt",
    "RedisFence",
    "RequestTimeout",
    "SessionExpired",
    "SqlFence",
    "SqliteFence",
    "StaleFencingToken",
    "StoredMessage",
    "Synaxis",
    "SynaxisError",
    "Topic",
    "TopicSettings",
    "TopicState",
    "VersionConflict",
    "__version__",
    "connect",
    "fence_middleware",
    "fence_sql",
]

_HOMES = {
    "Cache": "synaxis.client.caches.cache",
    "CacheStats": "synaxis.client.caches.entries",
    "Entry": "synaxis.client.caches.entries",
    "MISS": "synaxis.client.caches.entries",
    "AsyncSynaxis": "synaxis.client.cluster",
    "connect": "synaxis.client.cluster",
    "Leader": "synaxis.client.election",
    "AsyncRedisFence": "synaxis.client.fencing",
    "AsyncpgFence": "synaxis.client.fencing",
    "FenceMiddleware": "synaxis.client.fencing",
    "FenceStore": "synaxis.client.fencing",
    "MemoryFenceStore": "synaxis.client.fencing",
    "RedisFence": "synaxis.client.fencing",
    "SqlFence": "synaxis.client.fencing",
    "SqliteFence": "synaxis.client.fencing",
    "fence_middleware": "synaxis.client.fencing",
    "fence_sql": "synaxis.client.fencing",
    "Grant": "synaxis.client.grants",
    "GrantState": "synaxis.client.grants",
    "LockState": "synaxis.client.lock_admin",
    "GrantSet": "synaxis.client.lock_many",
    "Batch": "synaxis.client.queues.batch",
    "DeadMessage": "synaxis.client.queues.dead_letters",
    "StoredMessage": "synaxis.client.queues.message",
    "TopicState": "synaxis.client.queues.states",
    "GroupState": "synaxis.client.queues.states",
    "Codec": "synaxis.client.queues.codecs",
    "Consumer": "synaxis.client.queues.consumer",
    "Message": "synaxis.client.queues.message",
    "Publication": "synaxis.client.queues.outgoing",
    "Receipt": "synaxis.client.queues.outgoing",
    "Topic": "synaxis.client.queues.topic",
    "Backoff": "synaxis.client.queues.topics",
    "TopicSettings": "synaxis.client.queues.topics",
    "Synaxis": "synaxis.client.sync",
    "LockChange": "synaxis.client.watching",
}
"""Where the names live that are not errors."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'synaxis' has no attribute {name!r}")
    found: object
    if name == "__version__":
        found = import_module("importlib.metadata").version("synaxis")
    else:
        found = getattr(import_module(_HOMES.get(name, "synaxis.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
