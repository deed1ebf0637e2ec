"""Copies and fingerprints of whole objects, for searches that go on from many states.

Faster than ``copy.deepcopy``, and unlike ``pickle`` at home with bound methods, partials and
closures. What cannot change is shared: numbers, text, frozen structs, enums, functions.
"""

from collections import deque
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import msgspec

__all__ = ["Fingerprints", "copied"]

Memo = dict[int, Any]
ATOMS = (int, str, bytes, float, type(None), Enum, FunctionType, BuiltinFunctionType, type)
EMPTY_ITERATOR = type(iter(()))


def copied(thing: Any) -> Any:
    """Return a copy that shares nothing with the original that could change."""
    return _copy(thing, {})


def _copy(thing: Any, memo: Memo) -> Any:
    copier = _copier(type(thing))
    if copier is _itself:
        return thing
    found = memo.get(id(thing))
    return copier(thing, memo) if found is None else found


def _copier(kind: type) -> Callable[[Any, Memo], Any]:
    copier = _COPIERS.get(kind)
    if copier is None:
        copier = _COPIERS[kind] = _copier_of(kind)
    return copier


def _itself(thing: Any, _: Memo) -> Any:
    return thing


def _copy_list(thing: list[Any], memo: Memo) -> list[Any]:
    new = memo[id(thing)] = type(thing)()
    new.extend([_copy(each, memo) for each in thing])
    return new


def _copy_dict(thing: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    new = memo[id(thing)] = type(thing)()
    for key, value in thing.items():
        new[_copy(key, memo)] = _copy(value, memo)
    return new


def _copy_set(thing: set[Any], memo: Memo) -> set[Any]:
    new = memo[id(thing)] = {_copy(each, memo) for each in thing}
    return new


def _copy_tuple(thing: tuple[Any, ...], memo: Memo) -> tuple[Any, ...]:
    new = tuple([_copy(each, memo) for each in thing])
    return thing if all(map(lambda a, b: a is b, thing, new)) else new


def _copy_partial(thing: partial[Any], memo: Memo) -> partial[Any]:
    return partial(_copy(thing.func, memo), *_copy(thing.args, memo), **thing.keywords)


def _copy_method(thing: MethodType, memo: Memo) -> MethodType:
    return MethodType(thing.__func__, _copy(thing.__self__, memo))


def attributes(kind: type) -> tuple[str, ...]:
    """Return the names of the slots of a class and its bases."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    return tuple(name for base in kind.__mro__ for name in getattr(base, "__slots__", ()))


def _is_frozen(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    return is_dataclass(kind) and bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]


def _copier_of(kind: type) -> Callable[[Any, Memo], Any]:
    if issubclass(kind, ATOMS) or _is_frozen(kind):
        return _itself
    if issubclass(kind, dict):
        return _copy_dict
    names = attributes(kind)

    def copy_object(thing: Any, memo: Memo) -> Any:
        new = memo[id(thing)] = object.__new__(kind)
        for name in names:
            setattr(new, name, _copy(getattr(thing, name), memo))
        if hasattr(thing, "__dict__"):
            for name, value in thing.__dict__.items():
                new.__dict__[name] = _copy(value, memo)
        return new

    def copy_struct(thing: Any, memo: Memo) -> Any:
        new = memo[id(thing)] = copy(thing)
        for name in names:
            setattr(new, name, _copy(getattr(thing, name), memo))
        return new

    return copy_struct if issubclass(kind, msgspec.Struct) else copy_object


_COPIERS: dict[type, Callable[[Any, Memo], Any]] = {
    list: _copy_list,
    deque: _copy_list,
    dict: _copy_dict,
    set: _copy_set,
    tuple: _copy_tuple,
    partial: _copy_partial,
    MethodType: _copy_method,
    EMPTY_ITERATOR: _itself,
}


class Fingerprints:
    """Equal objects have equal fingerprints; ``ignored``: (class, attribute) that do not count.

    Order counts in dictionaries, because what is done may follow it. An object that is met again
    is told by its number, so sharing counts too.
    """

    def __init__(self, ignored: set[tuple[type, str]]) -> None:
        self._ignored = ignored
        self._names: dict[type, tuple[str, ...]] = {}

    def of(self, thing: Any) -> Hashable:
        """Return the fingerprint."""
        return self._of(thing, {})

    def _of(self, thing: Any, memo: dict[int, int]) -> Hashable:  # noqa: PLR0911  # one per kind
        kind = type(thing)
        if _copier(kind) is _itself and kind is not FunctionType:
            return None if kind is EMPTY_ITERATOR else thing
        if kind is tuple:
            return tuple([self._of(each, memo) for each in thing])
        if kind is FunctionType:
            cells = thing.__closure__ or ()
            return thing.__qualname__, *(self._of(each.cell_contents, memo) for each in cells)
        number = memo.get(id(thing))
        if number is not None:
            return kind, number
        memo[id(thing)] = len(memo)
        if kind in (list, deque):
            return kind, *[self._of(each, memo) for each in thing]
        if issubclass(kind, dict):
            return kind, *[(key, self._of(value, memo)) for key, value in thing.items()]
        if kind is set:
            return tuple(sorted(thing))
        if kind is partial:
            return self._of(thing.func, memo), self._of(thing.args, memo)
        if kind is MethodType:
            return thing.__func__.__qualname__, self._of(thing.__self__, memo)
        return self._of_object(thing, kind, memo)

    def _of_object(self, thing: Any, kind: type, memo: dict[int, int]) -> Hashable:
        names = self._names.get(kind)
        if names is None:
            everything = attributes(kind) + tuple(getattr(thing, "__dict__", ()))
            names = tuple(name for name in everything if (kind, name) not in self._ignored)
            self._names[kind] = names
        return kind, *[self._of(getattr(thing, name), memo) for name in names]
