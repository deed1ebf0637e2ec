"""Limits are checked when a node starts."""

from dataclasses import fields
from typing import Any

import pytest

from synaxis.errors import ConfigError
from synaxis.locks.limits import LockLimits, VictimPolicy
from synaxis.locks.machine import LockMachine


def test_the_defaults_are_valid() -> None:
    LockLimits().validate()


@pytest.mark.parametrize("name", [one.name for one in fields(LockLimits)])
@pytest.mark.parametrize("value", [0, -1, "many", True])
def test_a_wrong_value_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        LockLimits(**{name: value}).validate()


def test_a_policy_may_be_given_by_its_name() -> None:
    LockLimits(victim_policy=VictimPolicy("youngest")).validate()


def test_a_machine_refuses_wrong_limits() -> None:
    with pytest.raises(ConfigError, match="latches_max"):
        LockMachine(LockLimits(latches_max=0))
