"""The small examples, run as a reader would run them: against a real node, by their file names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster_process import ClusterProcesses, clean_environment

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    with ClusterProcesses(tmp_path_factory.mktemp("cluster"), size=1) as running:
        yield running


def output_of(name: str, cluster: ClusterProcesses) -> str:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        env=clean_environment({"url": cluster.urls}),
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_first_lock_is_held_by_one_at_a_time(cluster: ClusterProcesses) -> None:
    output = output_of("first_lock.py", cluster)
    assert output.count("holds orders/42 with token") == 2
    assert "tokens grow: " in output
    assert "try_lock took it at once" in output


def test_the_fenced_account_keeps_the_write_of_the_newer_holder(cluster: ClusterProcesses) -> None:
    output = output_of("fencing.py", cluster)
    assert "the old holder's write was refused" in output
    assert "balance: 70" in output


def test_the_semaphore_never_gives_more_than_it_has(cluster: ClusterProcesses) -> None:
    output = output_of("semaphore.py", cluster)
    assert output.count("job ") == 8
    assert "at most 4 of 4 were in use" in output or "at most 3 of 4 were in use" in output


def test_every_candidate_of_the_election_leads_once(cluster: ClusterProcesses) -> None:
    output = output_of("leader_election.py", cluster)
    assert output.count("leads with token") == 3
    assert "everybody led once: True" in output


def test_every_order_of_the_first_topic_is_billed_once(cluster: ClusterProcesses) -> None:
    output = output_of("first_topic.py", cluster)
    assert "on a majority of disks: partition " in output
    assert output.count(" billed ") == 4
    assert "acknowledged: 5, left: 0" in output


def test_the_dead_letter_says_why_and_succeeds_when_it_is_sent_again(
    cluster: ClusterProcesses,
) -> None:
    output = output_of("dead_letters.py", cluster)
    assert output.count("failed: no rate for 'CHF'") == 3
    assert "dead letter [20, 'CHF']: max_deliveries, KeyError: 'CHF'" in output
    assert "sent again: 1\nbooked 21.00, delivery 1\ndead letters left: 0" in output


def test_the_keyed_group_keeps_the_order_of_each_account(cluster: ClusterProcesses) -> None:
    output = output_of("keyed_order.py", cluster)
    assert "ada's deposit failed" in output
    assert output.count("open, deposit, withdraw, close") == 3
    assert "nobody waited for ada: True" in output
    assert "every account in order: True" in output
