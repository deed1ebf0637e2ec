"""Whole clusters in virtual time from one seed: the second executor of effects.

Read first: ``run.py`` (the phases of a run), ``cluster.py`` (the world), ``process.py`` (a node),
``invariants.py`` (what must hold at every moment), ``witness.py`` and ``wgl.py`` (what must hold of
the history), DESIGN.md.

Invariant: a run is a function of its seed. Nothing here reads a clock, a hash of a string, or
the order of a set to decide anything.
"""
