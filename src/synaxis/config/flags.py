"""Every setting as a command-line flag, made from ``Settings`` so that none can be forgotten."""

import argparse
from collections.abc import Sequence

from synaxis.config.settings import Settings

__all__ = ["parse_flags"]


def parse_flags(arguments: Sequence[str], program: str = "synaxis node run") -> dict[str, str]:
    """Return the given flags by setting name, as text; ``load_settings`` validates them.

    Prints help and exits on ``--help`` (0) and on a flag that does not exist (2).
    """
    return vars(_parser(program).parse_args(arguments))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run one node. Each flag is also the variable SYNAXIS_NAME and a TOML key.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in Settings.model_fields.items():
        title = Settings.group_of(name)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        is_switch = field.annotation is bool
        groups[title].add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            metavar="BOOL" if is_switch else name.rsplit("_", 1)[-1].upper(),
            nargs="?" if is_switch else None,
            const="true" if is_switch else None,
            help=(field.description or "").replace("%", "%%"),
        )
    return parser
