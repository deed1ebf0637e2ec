"""Small worlds: few sessions, few names, short times, so that things collide."""

from hypothesis import strategies as st

from synaxis.locks.commands import Acquire, LockKind, LockMode

NAMES = ("a", "b", "c")

sessions = st.integers(1, 4)
milliseconds = st.integers(0, 12)
waits_ms = st.sampled_from((-1, -1, 0, 5, 10))


@st.composite
def acquires(draw: st.DrawFn) -> Acquire:
    """Acquires of one or two names."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    semaphore = draw(st.integers(0, 3)) == 0
    return Acquire(
        tuple(names),
        wait_ms=draw(waits_ms),
        mode=LockMode.EXCLUSIVE if semaphore else draw(st.sampled_from(LockMode)),
        kind=LockKind.SEMAPHORE if semaphore else LockKind.LOCK,
        weight=draw(st.integers(1, 2)) if semaphore else 1,
        permits=2 if semaphore else 1,
        max_hold_ms=draw(st.sampled_from((0, 0, 5, 10))),
        lock_delay_ms=draw(st.sampled_from((0, 0, 5))),
        priority=draw(st.integers(-1, 1)),
        reentrant=not semaphore and draw(st.integers(0, 3)) == 0,
        task=draw(st.sampled_from((0, 0, 1))),
    )


@st.composite
def patient_acquires(draw: st.DrawFn) -> Acquire:
    """Acquires that stay for as long as they can: they make long queues and deep tangles."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    mode = draw(st.sampled_from(LockMode))
    return Acquire(tuple(names), mode=mode, priority=draw(st.integers(0, 1)))
