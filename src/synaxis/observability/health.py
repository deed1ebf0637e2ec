"""Health answers in the style of the Kubernetes API server: text for people, status for machines.

``/livez`` says whether the process works and never asks others; ``/readyz`` says whether it can
serve. Pure: a check is a function, and a report is a value. The HTTP handlers live in ``api``.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

__all__ = ["Check", "HealthChecks", "HealthReport"]

Check = Callable[[], str | None]
"""Returns None when all is well, else the reason in a few words (shown to whoever asks)."""

STATUS_OK = 200
STATUS_UNKNOWN_CHECK = 404
STATUS_FAILED = 503


class HealthReport(NamedTuple):
    """One answer."""

    status: int
    text: str
    failures: Mapping[str, str]
    """Failed check -> reason."""

    @property
    def healthy(self) -> bool:
        """Whether every check that was asked passed."""
        return self.status == STATUS_OK


class HealthChecks:
    """Named checks behind one endpoint.

    Args:
        endpoint: its name in the last line of a long answer, for example ``readyz``.
        checks: run in this order.
    """

    def __init__(self, endpoint: str, checks: Mapping[str, Check]) -> None:
        self.endpoint = endpoint
        self.checks = dict(checks)

    def report(self, *, verbose: bool = False, exclude: Collection[str] = ()) -> HealthReport:
        """Run all checks but the excluded ones. Failures are always told in full."""
        failures: dict[str, str] = {}
        lines: list[str] = []
        for name, check in self.checks.items():
            if name in exclude:
                lines.append(f"[+]{name} excluded: ok")
                continue
            reason = check()
            if reason is not None:
                failures[name] = reason
            lines.append(f"[+]{name} ok" if reason is None else f"[-]{name} failed: {reason}")
        lines.extend(
            f'warn: no check is named "{name}"' for name in exclude if name not in self.checks
        )
        lines.append(f"{self.endpoint} check {'failed' if failures else 'passed'}")
        text = "\n".join(lines) + "\n" if verbose or failures else "ok"
        return HealthReport(STATUS_FAILED if failures else STATUS_OK, text, failures)

    def report_one(self, name: str) -> HealthReport:
        """Run the check ``name`` alone (``/readyz/<name>``)."""
        check = self.checks.get(name)
        if check is None:
            known = ", ".join(self.checks)
            return HealthReport(
                STATUS_UNKNOWN_CHECK, f"no check is named {name!r}; there are {known}\n", {}
            )
        reason = check()
        if reason is None:
            return HealthReport(STATUS_OK, "ok", {})
        return HealthReport(STATUS_FAILED, f"[-]{name} failed: {reason}\n", {name: reason})
