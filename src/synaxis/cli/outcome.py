"""Tells what a command has changed."""

from synaxis.cli import output
from synaxis.cli.options import OutputOptions

__all__ = ["tell"]


def tell(out: OutputOptions, text: str, **facts: object) -> None:
    """Say ``text`` to a person on stderr, or print ``facts`` as the result for a program."""
    printer = out.printer()
    if printer.for_programs:
        printer.record(facts, ())
    elif not out.quiet:
        output.message(output.printable(text))
