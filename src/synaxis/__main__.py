"""``python -m synaxis`` is the ``synaxis`` command."""

from synaxis.cli.main import main

if __name__ == "__main__":
    main()
