"""What an ordered lane does between the end of a lease and the log's word that it is over."""

from support.queue_service import KEYED, QueueService


def test_a_key_waits_while_the_end_of_one_of_its_leases_is_in_the_log() -> None:
    service = QueueService()
    service.configure(visibility_ms=1_000, backoff_first_ms=1)
    service.publish(keys=["a"])
    member = service.member(KEYED, auto_extend=False)
    assert member.take_new() == [0]
    service.calm = True
    service.advance(1_000, heard=[member])
    member.release(0)  # too late: its lease is ending, and it will come again
    service.calm = False
    commands = service.dispatcher.take_commands()
    assert len(commands) == 1
    service.publish(keys=["a"])
    assert member.take_new() == [], "the second message overtook the first"
    service.do(commands[0])
    service.advance(10, heard=[member])
    assert member.take_new() == [0, 1]
