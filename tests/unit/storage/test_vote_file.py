from hypothesis import given
from hypothesis import strategies as st

from support.faulty_directory import FaultyDirectory
from support.log_script import CLUSTER, LOCKS, vote
from synaxis.storage.vote_file import VoteFile

FILE = "votes"


def written() -> FaultyDirectory:
    directory = FaultyDirectory()
    file = VoteFile(directory)
    file.rewrite(1, {LOCKS: vote(1, "node-1")})
    file.add(1, {CLUSTER: vote(1)})
    file.add(2, {LOCKS: vote(2, "node-2")})
    return directory


def test_the_newest_vote_of_each_group_and_the_newest_segment_are_read() -> None:
    content = VoteFile(written()).load()
    assert content.votes == {LOCKS: vote(2, "node-2"), CLUSTER: vote(1)}
    assert (content.segment, content.complete) == (2, True)


def test_a_file_that_is_missing_proves_nothing() -> None:
    content = VoteFile(FaultyDirectory()).load()
    assert (content.votes, content.complete) == ({}, False)


def test_a_torn_frame_is_skipped_and_noticed() -> None:
    directory = written()
    del directory.files[FILE][-9:]
    content = VoteFile(directory).load()
    assert content.votes == {LOCKS: vote(1, "node-1"), CLUSTER: vote(1)}
    assert not content.complete


@given(st.data())
def test_a_damaged_frame_costs_only_itself(data: st.DataObject) -> None:
    directory = written()
    whole = VoteFile(directory).load().votes
    at = data.draw(st.integers(0, len(directory.files[FILE]) - 1))
    directory.files[FILE][at] ^= 1 << data.draw(st.integers(0, 7))
    content = VoteFile(directory).load()
    assert not content.complete or content.votes == whole
    assert len(content.votes) >= 1


@given(st.binary(max_size=300))
def test_noise_is_read_as_nothing(noise: bytes) -> None:
    assert VoteFile(FaultyDirectory({FILE: noise})).load().votes == {}
