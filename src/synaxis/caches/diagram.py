"""The state diagram of a line, drawn from its table.

``python -m synaxis.caches.diagram`` prints it as Mermaid; ``DESIGN.md`` shows it between two marks,
and a test compares them.
"""

import sys
from typing import TYPE_CHECKING

from synaxis.caches.mesi import TRANSITIONS, Action

if TYPE_CHECKING:
    from synaxis.caches.bus import LineState

__all__ = ["diagram"]

SILENT = (Action.NOTHING, Action.REFUSE)
"""What changes nothing and says nothing is left out."""


def diagram() -> str:
    """Return the text of the diagram: one arrow per pair of states."""
    arrows: dict[tuple[LineState, LineState], list[str]] = {}
    for (before, event), (after, action) in TRANSITIONS.items():
        if before is not after or action not in SILENT:
            label = f"{event.value} / {action.value}" if action.value else event.value
            arrows.setdefault((before, after), []).append(label)
    lines = ["stateDiagram-v2", "    [*] --> I"]
    for (before, after), labels in arrows.items():
        lines.append(f"    {before.name} --> {after.name}: {', '.join(labels)}")
    return "\n".join(lines)


def main() -> None:
    """Print it."""
    sys.stdout.write(diagram() + "\n")


if __name__ == "__main__":
    main()
