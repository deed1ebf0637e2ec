"""The SDK: what runs in the user's process.

Read first: ``cluster.py`` (the facade), ``locks.py`` and ``grants.py`` (what a lock is to its
holder), ``session.py`` (why it may believe so), ``routing.py`` and ``connection.py`` (how commands
find the leader).

Invariants:
    * The body of ``async with cluster.lock(...)`` never runs without the lock.
    * A command is sent under one (session, sequence) for its whole life, whatever breaks.
    * A client believes in its locks for less time than the cluster grants them.

Sources: ``asyncio.timeouts`` (structured cancellation); Ongaro, thesis 6.3 (sessions); Gray and
Cheriton, "Leases" (1989), section 2 (a lease is counted from the moment of sending).
"""
