"""What a leader believes of a member that attaches again."""

import pytest

from support.queue_service import KEYED, SHARED, QueueService
from synaxis.queues.commands import Attach, GroupMode, Part


@pytest.mark.parametrize("mode", [SHARED, KEYED])
def test_a_claim_of_an_overtaken_delivery_does_not_keep_the_present_one(mode: GroupMode) -> None:
    service = QueueService()
    service.configure(backoff_first_ms=1, max_deliveries=5)
    service.publish(keys=["a"])
    member = service.member(mode)
    member.nack(0)
    assert member.take_new() == [0, 0]
    # The second delivery was lost with its stream, and the answer to the nack is still on its way.
    handle = object()
    service.streams[handle] = member
    member.demand(Attach("t", "g", member.number, 10, (Part(0, 0, 0, 0),)), handle)
    assert member.take_new() == [0]
