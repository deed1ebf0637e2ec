"""``@cache.cached``: functions whose results are records."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import wraps
from string import Formatter
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from synaxis.client.caches.codecs import Value
from synaxis.client.caches.entries import MISS
from synaxis.client.caches.filling import Recipe
from synaxis.client.caches.options import Terms, checked_tags
from synaxis.errors import InvalidArgument

__all__ = ["CachedFunction", "Decorator", "KeyMaker", "Wrapping", "decorator"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

RECEIVERS = ("self", "cls")


class CachedFunction(Protocol[P, R_co]):
    """A coroutine function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the cached result, or the function's, which is cached then."""
        ...

    def __get__(self, instance: object, owner: type | None = None) -> "CachedMethod[R_co]":
        """Bind to an instance."""
        ...

    def key(self, *args: Value, **kwargs: Value) -> str:
        """Return the key of the call, without ``self`` or ``cls``."""
        ...

    async def invalidate(self, *args: Value, **kwargs: Value) -> bool:
        """Remove the result of the call; returns whether there was one."""
        ...


class CachedMethod(Protocol[R_co]):
    """As ``CachedFunction``, bound."""

    def __call__(self, *args: Value, **kwargs: Value) -> Coroutine[Any, Any, R_co]:
        """See ``CachedFunction``."""
        ...

    def key(self, *args: Value, **kwargs: Value) -> str:
        """See ``CachedFunction``."""
        ...

    async def invalidate(self, *args: Value, **kwargs: Value) -> bool:
        """See ``CachedFunction``."""
        ...


class Decorator(Protocol):
    """What ``cached`` returns."""

    def __call__(self, function: Callable[P, Awaitable[R]]) -> CachedFunction[P, R]:
        """Return the function that looks first."""
        ...


class KeyMaker:
    """Fills templates with the arguments of calls of one function."""

    def __init__(self, function: Callable[..., Any], templates: tuple[str, ...]) -> None:
        """Check the templates.

        Raises:
            InvalidArgument: one is malformed, or names what is no argument of ``function``.
        """
        if not inspect.isfunction(function):
            raise InvalidArgument(
                f"cached is for functions, not {function!r}; it goes below classmethod and the like"
            )
        parameters = list(inspect.signature(function).parameters.values())
        self.skipped = 1 if parameters and parameters[0].name in RECEIVERS else 0
        parameters = parameters[self.skipped :]
        self._signature = inspect.Signature(parameters)
        plain = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
        self._names = tuple(each.name for each in parameters) if plain else ()
        for template in templates:
            _check(template, {each.name for each in parameters}, function.__qualname__)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call, without ``self`` or ``cls``, by name.

        Raises:
            TypeError: the function cannot be called like that.
        """
        names = self._names
        if not kwargs and names and len(args) == len(names):
            return dict(zip(names, args, strict=True))
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def fill(self, template: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return ``template`` with the arguments of a call; raises as ``arguments``."""
        return template.format_map(self.arguments(args, kwargs))


def _check(template: object, known: set[str], function: str) -> None:
    if not isinstance(template, str) or not template:
        raise InvalidArgument(f"a template is text, not {template!r}")
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InvalidArgument(f"{template!r} is no template: {error}") from error
    for field in fields:
        name = field.partition(".")[0].partition("[")[0]
        if name not in known:
            raise InvalidArgument(
                f"{template!r} names {name!r}, which is no argument of {function}"
            )


class Wrapping(NamedTuple):
    """What decorated functions use of their cache."""

    fresh: Callable[[str], Value]
    """Returns what is here, or ``MISS``."""
    load: Callable[[str, Recipe], Awaitable[Value]]
    delete: Callable[[str], Awaitable[bool]]


def decorator(
    cache: Wrapping,
    template: str,
    terms: Terms,
    tags: tuple[str, ...],
    *,
    cache_none: bool,
) -> Decorator:
    """Return what ``Cache.cached`` returns."""

    def decorate(function: Callable[P, Awaitable[R]]) -> CachedFunction[P, R]:
        if not inspect.iscoroutinefunction(function):
            raise InvalidArgument(f"{function!r} is no coroutine function: use synaxis.Synaxis")
        maker = KeyMaker(function, (template, *tags))
        skipped = maker.skipped
        fresh, load, delete = cache

        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = maker.arguments(args[skipped:], kwargs)
            name = template.format_map(arguments)
            found: R = fresh(name)
            if found is MISS:
                made = _tagged(terms, tags, arguments)
                recipe = Recipe(lambda _: function(*args, **kwargs), made, cache_none)
                found = await load(name, recipe)
            return found

        def key(*args: Value, **kwargs: Value) -> str:
            return maker.fill(template, args, kwargs)

        async def invalidate(*args: Value, **kwargs: Value) -> bool:
            return await delete(key(*args, **kwargs))

        call.key = key  # type: ignore[attr-defined]  # a function may have attributes
        call.invalidate = invalidate  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]  # with them it is one

    return decorate


def _tagged(terms: Terms, tags: tuple[str, ...], arguments: Mapping[str, Any]) -> Terms:
    """Return the terms with the tags of one call."""
    if not tags:
        return terms
    made = checked_tags(each.format_map(arguments) for each in tags)
    return replace(terms, tags=made)
