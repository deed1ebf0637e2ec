"""``synaxis node run``: one node in this process."""

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """Run one node until it is told to stop; the flags are those of the settings.

    Raises:
        ConfigError: a setting is wrong (exit code 78).
    """
    from synaxis.config import load_settings, parse_flags

    settings = load_settings(parse_flags(arguments, "synaxis node run"))
    # Only now: a wrong setting is told without the cost of importing the server.
    from synaxis.server import run as serve

    return serve(settings)
