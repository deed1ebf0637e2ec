"""The ``synaxis`` command: thin programs over the SDK, the config and the server.

Read first: ``catalogue.py`` (which commands exist), ``main.py`` (how one is found and how its
errors become exit codes), ``output.py`` (what may be printed where).

Invariants:

* Results go to stdout, everything else to stderr; an exit code is part of the interface.
* ``synaxis --help`` and ``synaxis health`` import nothing outside the standard library.
* A command touches the cluster only through the public SDK (``synaxis.connect``).

Sources: clig.dev (streams, ``--json``, ``NO_COLOR``); sysexits(3) for the codes of the server.
"""
