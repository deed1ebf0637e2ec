"""The dashboards ask for what a node exports."""

import pytest

from support.dashboards import METRIC, Query, dashboards, queries
from support.metric_names import exported_names

NOT_SHOWN = (
    "python_",
    "process_",
    "synaxis_build_info",
    # Shown through synaxis_raft_*, which has a label for the group.
    "synaxis_consensus_",
)


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel)
def test_every_metric_of_a_query_exists(query: Query) -> None:
    assert query.metrics <= exported_names()
    assert query.metrics or query.expression.startswith("sum(up")
    assert "$" not in query.concrete("1m")


def test_variables_ask_for_metrics_that_exist() -> None:
    for dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            assert set(METRIC.findall(variable["definition"])) <= exported_names()


def test_every_metric_of_raft_and_the_services_is_shown_somewhere() -> None:
    shown = {name for query in queries() for name in query.metrics}
    quiet = ("_created", "_sum", "_count")
    assert not {
        name
        for name in exported_names() - shown
        if not name.startswith(NOT_SHOWN) and not name.endswith(quiet)
    } - {
        "synaxis_raft_has_leader",  # what readyz says
        "synaxis_raft_last_index",
        "synaxis_raft_snapshot_index",
        "synaxis_raft_voters",
        "synaxis_locks_converted_total",
        "synaxis_watchers",
    }


def test_the_model_is_the_classic_one_that_grafana_11_provisions() -> None:
    for dashboard in dashboards():
        assert dashboard["schemaVersion"] <= 42
        assert dashboard["uid"]
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))


def test_panels_do_not_overlap_and_fit_the_grid() -> None:
    for dashboard in dashboards():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_every_panel_says_what_it_means() -> None:
    for dashboard in dashboards():
        for panel in dashboard["panels"]:
            assert panel["type"] == "row" or panel["description"].endswith(".")
