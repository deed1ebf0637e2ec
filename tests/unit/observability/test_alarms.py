"""The alarms that docs/operations.md recommends ask for what a node exports."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from support.dashboards import METRIC
from support.metric_names import exported_names

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def rules() -> list[dict[str, Any]]:
    (block,) = re.findall(r"^```yaml\n(groups:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (group,) = YAML(typ="safe").load(block)["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_metric_of_an_alarm_exists(rule: dict[str, Any]) -> None:
    metrics = set(METRIC.findall(rule["expr"]))
    assert metrics <= exported_names()
    assert metrics or rule["expr"].startswith("up{")


@pytest.mark.parametrize(
    ("heading", "prefix"),
    [("Metrics of queues", "synaxis_queue_"), ("Metrics of caches", "synaxis_cache_")],
)
def test_every_metric_of_a_service_is_explained(heading: str, prefix: str) -> None:
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    explained = set(re.findall(r"^\| `(synaxis_\w+)` \|", section, re.MULTILINE))
    samples = {name for name in exported_names() if name.startswith(prefix)}
    assert explained == {re.sub("_(bucket|sum|count)$", "", name) for name in samples}
