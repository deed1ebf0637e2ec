"""The coherent cache in the user's process.

Read first: ``cache.py`` (the facade of one cache, and the path of a hit), ``link.py`` (the agent
that may hold lines, and its stream to the home of a shard), ``engine.py`` (which way an operation
goes), ``filling.py`` (who computes a value that is missing).

Invariants:
    * A hit of the near cache is served only while the lease of its shard runs, by a clock that is
      read at each hit: a blocked event loop or a suspended machine serves nothing old.
    * Lines of one stream are never believed in under the lease of another.
    * A value that was loaded is stored only under a reservation that no write has voided.
    * A write is sent under one (session, sequence) for its whole life, whatever breaks.

Sources: ``caches/DESIGN.md``; Gray and Cheriton, "Leases" (1989); Nishtala et al., "Scaling
Memcache at Facebook" (NSDI 2013), 3.2.1 (leases for fills).
"""
