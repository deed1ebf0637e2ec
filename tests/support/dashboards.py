"""The queries of the shipped Grafana dashboards."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
METRIC = re.compile(r"\b(?:synaxis|process|python)_\w+")


class Query(NamedTuple):
    """One expression of one panel."""

    panel: str
    expression: str

    @property
    def metrics(self) -> set[str]:
        """Return the metric names in it."""
        return set(METRIC.findall(self.expression))

    def concrete(self, rate_interval: str) -> str:
        """Return the expression as Grafana sends it with every variable on All."""
        concrete = self.expression.replace("$__rate_interval", rate_interval)
        return re.sub(r"\$(?:group|topic|consumers|cache)\b", ".*", concrete)


def dashboards() -> list[dict[str, Any]]:
    """Return the dashboards as JSON."""
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
    ]


def queries() -> list[Query]:
    """Return every query of every panel."""
    return [
        Query(panel["title"], target["expr"])
        for dashboard in dashboards()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
