"""Suspicion grows with silence, measured against the peer's own rhythm."""

from synaxis.cluster.failure_detector import ALIVE, DEAD, SUSPECTED, FailureDetector
from synaxis.ids import Instant, NodeId

PEER = NodeId("n2")


def heard_until(end_ms: int, every_ms: int = 100) -> FailureDetector:
    detector = FailureDetector(100)
    for now in range(0, end_ms + 1, every_ms):
        detector.heard(PEER, Instant(now))
    return detector


def test_a_regular_peer_is_alive() -> None:
    assert heard_until(10_000).state(PEER, Instant(10_100)) == ALIVE


def test_silence_leads_to_suspicion_and_then_to_death() -> None:
    detector = heard_until(10_000)
    states = [detector.state(PEER, Instant(10_000 + silence)) for silence in range(0, 2_000, 10)]
    assert [states[0], states[-1]] == [ALIVE, DEAD]
    assert SUSPECTED in states
    order = {ALIVE: 0, SUSPECTED: 1, DEAD: 2}
    assert sorted(states, key=order.__getitem__) == states


def test_a_slow_rhythm_is_suspected_later_than_a_quick_one() -> None:
    silence = Instant(10_000 + 700)
    slow, quick = heard_until(10_000, every_ms=400), heard_until(10_000, every_ms=100)
    assert slow.phi(PEER, silence) < quick.phi(PEER, silence)


def test_one_heartbeat_brings_a_dead_peer_back() -> None:
    detector = heard_until(10_000)
    assert detector.state(PEER, Instant(60_000)) == DEAD
    detector.heard(PEER, Instant(60_000))
    assert detector.state(PEER, Instant(60_050)) == ALIVE


def test_a_forgotten_peer_is_not_reported() -> None:
    detector = heard_until(1_000)
    detector.forget(PEER)
    assert detector.states(Instant(99_999)) == {}
    assert detector.phi(PEER, Instant(99_999)) == 0
