"""Tokens grow, whatever happens."""

import pytest

from support.lock_service import A, LockService
from synaxis.errors import ConfigError
from synaxis.locks.machine import LockMachine
from synaxis.locks.tokens import EPOCH_MAX, FencingTokens


def test_a_token_is_the_epoch_and_a_counter() -> None:
    assert FencingTokens(3).issue() == (3 << 40) + 1


def test_the_highest_epoch_stays_exact_for_readers_with_64_bit_floats() -> None:
    token = FencingTokens(EPOCH_MAX).issue()
    assert int(float(token)) == token
    assert token < 2**53


@pytest.mark.parametrize("epoch", [0, -1, EPOCH_MAX + 1])
def test_an_epoch_out_of_range_is_refused(epoch: int) -> None:
    with pytest.raises(ConfigError, match="epoch"):
        FencingTokens(epoch)


def test_tokens_of_one_name_grow_over_release_restart_and_expiry() -> None:
    service = LockService()
    tokens = []
    for step in range(6):
        tokens.append(service.take(A, "x"))
        if step % 2:
            service.restart()
            service.end_session(A)
        else:
            service.release(A, tokens[-1])
    assert tokens == sorted(set(tokens))


def test_a_raised_epoch_goes_ahead_of_a_restored_backup() -> None:
    backup = LockService()
    old = backup.take(A, "x")
    restored = LockMachine(epoch=2)
    restored.restore(backup.machine.snapshot())
    assert restored.tokens.issue() == (2 << 40) + 1 > old


def test_an_unchanged_epoch_goes_on_counting() -> None:
    backup = LockService()
    old = backup.take(A, "x")
    backup.restart()
    assert backup.take(A, "y") == old + 1
