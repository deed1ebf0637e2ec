"""Which news of leaders counts."""

import pytest

from synaxis.client.routing import _is_news
from synaxis.ids import GroupId, NodeId
from synaxis.wire.client import Route


def route(leader: str | None, term: int) -> Route:
    return Route(GroupId("locks/0"), NodeId(leader) if leader else None, "", term)


@pytest.mark.parametrize(
    ("told", "known", "counts"),
    [
        (route("n2", 5), route("n1", 4), True),
        (route("n2", 4), route("n1", 5), False),
        (route(None, 5), route("n1", 4), True),
        (route(None, 4), route("n1", 4), False),
        (route(None, 0), route("n1", 4), False),
        (route("n2", 0), route("n1", 4), True),
        (route("n1", 4), route(None, 4), True),
    ],
)
def test_a_later_term_counts_and_ignorance_does_not(
    told: Route, known: Route, counts: bool
) -> None:
    assert _is_news(told, known) is counts
