"""Locks as rows: the documented JSON of ``lock ls`` and ``lock info``."""

from typing import Any

from synaxis.client.lock_admin import HolderState, LockState, WaitState

__all__ = ["holder_row", "lock_row", "session_text", "waiter_row"]


def session_text(session: int) -> str:
    """Return how people see a session: 16 hex digits."""
    return f"{session:016x}"


def lock_row(state: LockState) -> dict[str, Any]:
    """Return one lock with everybody who holds it or waits for it."""
    return {
        "name": state.name,
        "kind": state.kind,
        "mode": state.mode,
        "token": max((holder.token for holder in state.holders), default=None),
        "age_s": max((holder.age for holder in state.holders), default=None),
        "permits": state.permits if state.kind == "semaphore" else None,
        "delayed_for_s": state.delayed_for,
        "holders": [holder_row(holder) for holder in state.holders],
        "waiters": [waiter_row(waiter) for waiter in state.waiters],
    }


def holder_row(holder: HolderState) -> dict[str, Any]:
    """Return one grant."""
    return {
        "owner": holder.owner,
        "session": holder.session,
        "token": holder.token,
        "mode": holder.mode,
        "holds": holder.holds,
        "weight": holder.weight,
        "age_s": holder.age,
        "ends_in_s": holder.expires_in,
    }


def waiter_row(waiter: WaitState) -> dict[str, Any]:
    """Return one waiting request; its position counts from 1, who is next."""
    return {
        "position": waiter.position,
        "session": waiter.session,
        "mode": waiter.mode,
        "weight": waiter.weight,
        "upgrade": waiter.upgrading,
        "waiting_s": waiter.waited,
        "gives_up_in_s": waiter.expires_in,
    }
