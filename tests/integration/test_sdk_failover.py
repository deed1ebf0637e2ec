"""What the client does when nodes die, lose their leadership or fall silent."""

import asyncio
import ssl

import pytest
import trustme

import synaxis
from support.fake_cluster import FakeCluster, FakeNode
from synaxis.consensus.commands import OpenSession
from synaxis.locks.commands import Abandon, Acquire, Release
from synaxis.wire import client as wire


def sequences(node: FakeNode, command: type) -> list[int]:
    return [
        message.submission.sequence
        for message in node.messages
        if isinstance(message, wire.Call) and isinstance(message.submission.command, command)
    ]


async def warm(cluster: synaxis.AsyncSynaxis) -> None:
    await (await cluster.acquire("warm")).release()


async def test_the_client_goes_to_the_leader_whichever_node_it_was_given() -> None:
    async with FakeCluster(3) as fake:
        fake.elect("n3")
        async with synaxis.connect(fake["n1"].url) as cluster, cluster.lock("a"):
            assert sequences(fake["n3"], Acquire) == [1]
            assert sequences(fake["n1"], Acquire) == []


async def test_a_refusal_that_names_the_leader_is_followed() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        await warm(cluster)
        fake.leader = fake["n2"].node_id  # nobody is told
        async with cluster.lock("a") as held:
            assert held.token
        assert sequences(fake["n1"], Acquire) == [1, 3]
        assert sequences(fake["n2"], Acquire) == [3]


async def test_a_command_keeps_its_sequence_when_the_leader_dies_before_answering() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        await warm(cluster)
        leader = fake["n1"]

        def die(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call):
                leader.break_connections()
                fake.elect("n2")
                return True
            return False

        leader.intercept = die
        async with cluster.lock("a"):
            pass
        assert sequences(leader, Acquire) == [1, 3]
        assert sequences(fake["n2"], Acquire) == [3]


async def test_a_command_that_was_applied_before_the_leader_died_is_not_applied_again() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        await warm(cluster)
        leader = fake["n1"]

        def apply_and_die(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and node.doors:
                door = node.doors[-1]
                node.mute = True
                fake.apply(message.submission, (door, message.id))
                leader.break_connections()
                fake.elect("n2")
                return True
            return False

        leader.intercept = apply_and_die
        async with cluster.lock("a"):
            pass
        applied = [submission.sequence for submission in fake.applied]
        assert applied == [1, 2, 3, 4]
        assert [type(command) for command in fake.commands] == [Acquire, Release] * 2


async def test_a_waiting_acquire_survives_the_change_of_leaders() -> None:
    async with FakeCluster(3) as fake, fake.client() as one, fake.client() as other:
        grant = await one.acquire("a")
        waiting = asyncio.get_running_loop().create_task(other.acquire("a", wait=None))
        await fake.seen(Acquire, Acquire)
        fake["n1"].break_connections()
        fake.elect("n2")
        await grant.release()
        assert (await waiting).token > grant.token
        await fake.seen(Acquire, Acquire, Release)


async def test_a_stopped_node_is_given_up_after_some_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synaxis.client.connection.PING_AFTER_S", 0.1)
    monkeypatch.setattr("synaxis.client.connection.PATIENCE_S", 0.2)
    async with FakeCluster(2) as fake, fake.client() as cluster:
        await warm(cluster)
        fake["n1"].freeze()
        fake.elect("n2")
        async with cluster.lock("a"):
            pass
        assert sequences(fake["n2"], Acquire) == [3]


async def test_a_quiet_node_that_answers_pings_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synaxis.client.connection.PING_AFTER_S", 0.1)
    monkeypatch.setattr("synaxis.client.connection.PATIENCE_S", 0.5)
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        grant = await one.acquire("a")
        with pytest.raises(synaxis.LockTimeout):
            await other.acquire("a", wait=1.2)
        await grant.release()
        assert len(fake["n1"].hellos) == 2


async def test_a_connection_that_was_idle_for_long_is_not_given_up_at_its_next_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synaxis.client.connection.PING_AFTER_S", 0.1)
    monkeypatch.setattr("synaxis.client.connection.PATIENCE_S", 0.5)
    async with FakeCluster() as fake, fake.client() as one:
        grant = await one.acquire("a")
        await asyncio.sleep(0.8)
        waiting = asyncio.get_running_loop().create_task(one.acquire("a", owner="another"))
        await asyncio.sleep(0.3)
        await grant.release()
        await waiting
        assert len(fake["n1"].hellos) == 1


async def test_news_of_an_older_term_are_no_news() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster:
        await warm(cluster)
        stale = tuple(
            wire.Route(route.group, fake["n2"].node_id, fake["n2"].url, 0 + fake.term - 1 or 1)
            for route in fake.routes()
        )
        fake.elect("n1")
        fake["n1"].push(wire.Routes(stale, ()))
        async with cluster.lock("a"):
            pass
        assert sequences(fake["n2"], Acquire) == []


async def test_an_overloaded_node_is_asked_again_later() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await warm(cluster)
        refused: list[int] = []

        def refuse(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call) and len(refused) < 3:
                refused.append(message.submission.sequence)
                node.doors[-1].write(wire.Failure(message.id, "overloaded", "full"))
                return True
            return False

        fake["n1"].intercept = refuse
        async with cluster.lock("a"):
            pass
        assert refused == [3, 3, 3]
        assert [submission.sequence for submission in fake.applied] == [1, 2, 3, 4]


async def test_an_abandoned_command_moves_to_the_new_leader_ahead_of_its_abandon() -> None:
    async with FakeCluster(2) as fake, fake.client() as one, fake.client() as other:
        grant = await one.acquire("a")
        waiting = asyncio.get_running_loop().create_task(other.acquire("a", wait=None))
        await fake.seen(Acquire, Acquire)
        await grant.release()
        await waiting
        leader = fake["n1"]

        def swallow(_node: FakeNode, message: wire.ClientMessage) -> bool:
            return isinstance(message, wire.Call)

        leader.intercept = swallow
        lost = asyncio.get_running_loop().create_task(other.acquire("b", wait=None))
        await fake.until(lambda: len(sequences(leader, Acquire)) == 3)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        await fake.until(lambda: sequences(leader, Abandon))
        leader.break_connections()
        fake.elect("n2")
        await fake.until(lambda: isinstance(fake.commands[-1], Abandon))
        assert [type(command) for command in fake.commands[-2:]] == [Acquire, Abandon]
        assert await one.try_lock("b") is not None


async def test_without_a_leader_commands_wait_for_one() -> None:
    async with FakeCluster(3) as fake, fake.client() as cluster:
        await warm(cluster)
        fake.elect(None)
        fake["n1"].break_connections()
        acquiring = asyncio.get_running_loop().create_task(cluster.acquire("a"))
        await asyncio.sleep(0.2)
        assert not acquiring.done()
        fake.elect("n3")
        assert (await acquiring).token


async def test_an_acquire_that_nobody_answers_is_undone_and_may_be_repeated() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        await warm(cluster)
        fake["n1"].intercept = lambda _node, message: isinstance(message, wire.Call)
        with pytest.raises(synaxis.RequestTimeout) as caught:
            await cluster.acquire("a", wait=0)
        assert caught.value.retryable
        fake["n1"].intercept = None
        fake["n1"].break_connections()
        await fake.until(lambda: isinstance(fake.commands[-1], Abandon))
        assert await cluster.try_lock("a") is not None


async def test_a_change_that_nobody_answers_has_an_unknown_outcome() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        grant = await cluster.acquire("a")
        fake["n1"].intercept = lambda _node, message: isinstance(message, wire.Call)
        with pytest.raises(synaxis.OutcomeUnknown):
            await cluster.locks.force_release("a", reason="test")
        with pytest.raises(synaxis.OutcomeUnknown):
            await grant.release()
        fake["n1"].intercept = None
        fake["n1"].break_connections()
        await fake.until(lambda: isinstance(fake.commands[-1], Release))


async def test_a_read_that_nobody_answers_times_out() -> None:
    async with FakeCluster() as fake, fake.client(timeout=0.3) as cluster:
        fake["n1"].intercept = lambda _node, message: isinstance(message, wire.Query)
        with pytest.raises(synaxis.RequestTimeout):
            await cluster.locks.get("a")


async def test_a_change_of_members_is_not_repeated_when_its_fate_is_unknown() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        node = fake["n1"]

        def swallow(_node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Admin):
                node.break_connections()
                return True
            return False

        node.intercept = swallow
        with pytest.raises(synaxis.OutcomeUnknown):
            await cluster.add_member("n9", "host:7401")
        assert sum(isinstance(message, wire.Admin) for message in node.messages) == 1


async def test_nobody_at_the_address_is_a_failed_connection() -> None:
    async with FakeCluster() as fake:
        url = fake.url
    with pytest.raises(synaxis.ConnectionFailed, match=url):
        await synaxis.connect(url, timeout=0.3).open()


async def test_a_dead_cluster_is_a_failed_connection_too() -> None:
    fake = FakeCluster()
    async with fake, fake.client(timeout=0.3) as cluster:
        await fake["n1"].stop()
        with pytest.raises(synaxis.ConnectionFailed):
            await cluster.acquire("a", wait=0)


async def test_a_node_that_wants_a_key_is_told_or_refuses() -> None:
    async with FakeCluster() as fake:
        fake["n1"].api_key = "secret"
        with pytest.raises(synaxis.AuthenticationRequired):
            await fake.client(api_key="wrong").open()
        async with fake.client(api_key="secret") as cluster:
            await warm(cluster)


async def test_nodes_are_reached_by_tls_with_the_authority_that_is_given() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with FakeCluster(ssl=server) as fake:
        async with fake.client(ssl=trusting) as cluster:
            await warm(cluster)
        with pytest.raises(synaxis.ConnectionFailed):
            await fake.client(timeout=0.3).open()


async def test_without_a_leader_in_time_there_is_no_quorum() -> None:
    async with FakeCluster(2) as fake, fake.client(timeout=0.3) as cluster:
        await warm(cluster)
        fake.leader = None
        with pytest.raises(synaxis.NoQuorum):
            await cluster.locks.get("a")
        with pytest.raises(synaxis.NoQuorum):
            await cluster.acquire("a", wait=0)


async def test_a_new_leader_hears_of_a_session_that_holds_something() -> None:
    async with FakeCluster(2) as fake, fake.client() as cluster, cluster.lock("a"):
        fake["n1"].break_connections()
        fake.elect("n2")
        await fake.until(
            lambda: any(isinstance(message, wire.KeepAlive) for message in fake["n2"].messages)
        )


async def test_a_watch_resumes_on_another_node_without_gap_or_repetition() -> None:
    async with (
        FakeCluster(2) as fake,
        fake.client() as one,
        fake.client() as watcher,
        watcher.locks.watch("a") as changes,
    ):
        await warm(one)
        first = await one.acquire("a/1")
        assert (await anext(changes)).token == first.token
        fake["n1"].break_connections()
        fake.elect("n2")
        await fake.until(
            lambda: any(isinstance(message, wire.Watch) for message in fake["n2"].messages)
        )
        [resumed] = [m for m in fake["n2"].messages if isinstance(m, wire.Watch)]
        assert resumed.after >= 0
        await first.release()
        assert (await anext(changes)).what == "released"


# --- sessions ------------------------------------------------------------------------------------


async def test_keep_alives_are_sent_three_times_per_ttl() -> None:
    async with FakeCluster() as fake, fake.client(session_ttl=0.6) as cluster:
        async with cluster.lock("a") as held:
            await asyncio.sleep(1)
            held.ensure()
        [session] = fake.sessions.values()
        assert 3 <= session.keep_alives <= 6


async def test_a_session_that_is_not_confirmed_loses_its_locks_at_two_thirds_of_its_ttl() -> None:
    async with (
        FakeCluster() as fake,
        fake.client(session_ttl=0.9) as cluster,
        cluster.lock("a", on_loss="event") as held,
    ):
        fake["n1"].intercept = lambda _node, message: isinstance(message, wire.KeepAlive)
        await held.lost.wait()
        assert held.state == "lost"
        with pytest.raises(synaxis.LockLost) as caught:
            held.ensure()
        assert caught.value.reason == "not_confirmed"
        assert len(fake.sessions) == 1, "for the cluster the session lives on"
        fake["n1"].intercept = None
        await fake.until(lambda: isinstance(fake.commands[-1], Release))


async def test_a_lock_at_risk_is_safe_again_after_a_confirmation() -> None:
    async with (
        FakeCluster() as fake,
        fake.client(session_ttl=3) as cluster,
        cluster.lock("a") as held,
    ):
        fake["n1"].intercept = lambda _node, message: isinstance(message, wire.KeepAlive)
        await fake.until(lambda: held.state == "at_risk")
        fake["n1"].intercept = None
        fake["n1"].break_connections()
        await held.safe()
        assert held.state == "held"


async def test_an_expired_session_loses_everything_and_the_next_use_opens_another() -> None:
    async with FakeCluster() as fake, fake.client(session_ttl=0.3) as cluster:
        expired: list[int] = []

        async def body() -> None:
            async with cluster.lock("a"):
                [number] = fake.sessions
                expired.append(number)
                fake.expire(number)
                await asyncio.Event().wait()

        with pytest.raises(synaxis.LockLost) as caught:
            await body()
        assert caught.value.reason == "session_expired"
        async with cluster.lock("a"):
            assert list(fake.sessions) != expired


async def test_a_wait_in_an_expired_session_ends() -> None:
    async with FakeCluster() as fake, fake.client() as one, fake.client() as other:
        await one.acquire("a")
        [first] = fake.sessions
        waiting = asyncio.get_running_loop().create_task(other.acquire("a", wait=None))
        await fake.seen(Acquire, Acquire)
        [second] = set(fake.sessions) - {first}
        fake.expire(second)
        with pytest.raises(synaxis.SessionExpired):
            await waiting


async def test_a_session_is_opened_once_for_many_first_users() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:
        await asyncio.gather(*(cluster.acquire(f"lock/{n}") for n in range(20)))
        opens = [
            message
            for message in fake["n1"].messages
            if isinstance(message, wire.Call)
            and isinstance(message.submission.command, OpenSession)
        ]
        assert len(opens) == 1


async def test_a_session_that_the_cluster_refuses_is_an_error_of_the_first_user() -> None:
    async with FakeCluster() as fake, fake.client() as cluster:

        def refuse(node: FakeNode, message: wire.ClientMessage) -> bool:
            if isinstance(message, wire.Call):
                details = {"limit": "sessions_max", "maximum": 1}
                node.doors[-1].write(
                    wire.Failure(message.id, "limit_exceeded", "too many sessions", details)
                )
                return True
            return False

        fake["n1"].intercept = refuse
        with pytest.raises(synaxis.LimitExceeded):
            await cluster.acquire("a")
        fake["n1"].intercept = None
        assert await cluster.try_lock("a") is not None


async def test_closing_the_client_ends_what_still_waits() -> None:
    async with FakeCluster() as fake, fake.client() as one:
        await one.acquire("a")
        other = await fake.client().open()
        waiting = asyncio.get_running_loop().create_task(other.acquire("a", wait=None))
        await fake.seen(Acquire, Acquire)
        await other.aclose()
        with pytest.raises(synaxis.SynaxisError):
            await waiting
        with pytest.raises(RuntimeError):
            other.lock("a")
