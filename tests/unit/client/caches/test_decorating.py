"""Keys that are made from the arguments of calls."""

from typing import Any

import pytest

from synaxis.client.caches.decorating import KeyMaker
from synaxis.errors import InvalidArgument


def plain(user_id: int, kind: str = "full") -> None: ...
def starred(first: int, *rest: int, named: int = 0, **others: int) -> None: ...


class Repository:
    def load(self, user_id: int) -> None: ...
    def only(self) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "key"),
    [
        ((1, "short"), {}, "u:1:short"),
        ((1,), {}, "u:1:full"),
        ((), {"user_id": 1}, "u:1:full"),
        ((1,), {"kind": "x"}, "u:1:x"),
    ],
)
def test_however_a_function_is_called_the_key_is_one(
    args: tuple[Any, ...], kwargs: dict[str, Any], key: str
) -> None:
    template = "u:{user_id}:{kind}"
    assert KeyMaker(plain, (template,)).fill(template, args, kwargs) == key


def test_stars_and_attributes() -> None:
    template = "{first}-{rest}-{named:03d}-{others[x]}-{first.real}"
    maker = KeyMaker(starred, (template,))
    assert maker.fill(template, (1, 2, 3), {"named": 4, "x": 5}) == "1-(2, 3)-004-5-1"


@pytest.mark.parametrize(
    ("template", "args", "key"), [("u:{user_id}", (7,), "u:7"), ("all", (7,), "all")]
)
def test_the_receiver_of_a_method_does_not_count(
    template: str, args: tuple[Any, ...], key: str
) -> None:
    maker = KeyMaker(Repository.load, (template,))
    assert maker.skipped == 1
    assert maker.fill(template, args, {}) == key


def test_a_method_without_arguments() -> None:
    maker = KeyMaker(Repository.only, ("all",))
    assert maker.fill("all", (), {}) == "all"


@pytest.mark.parametrize("args", [(), (1, "a", 3)])
def test_a_call_that_the_function_would_refuse_is_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        KeyMaker(plain, ("{user_id}",)).fill("{user_id}", args, {})


@pytest.mark.parametrize(
    "template", ["{nobody}", "{self}", "{0}", "{}", "{user_id", "", None, "{user_id} {other.x}"]
)
def test_templates_that_cannot_be_filled_are_refused(template: Any) -> None:
    with pytest.raises(InvalidArgument):
        KeyMaker(plain, (template,))


@pytest.mark.parametrize("thing", [staticmethod(plain), 5, print])
def test_only_functions_are_decorated(thing: Any) -> None:
    with pytest.raises(InvalidArgument, match="functions"):
        KeyMaker(thing, ("x",))
