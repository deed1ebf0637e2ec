"""Members, and who owns which partition: released before it is assigned."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.ids import SessionId
from synaxis.queues.commands import GroupMode
from synaxis.queues.group import Group, Member, Ownership


def group(partitions: int = 4) -> Group:
    made = Group("g", GroupMode.EXCLUSIVE, 0)
    made.owners = {partition: Ownership() for partition in range(partitions)}
    return made


def join(made: Group, *numbers: int) -> None:
    for number in numbers:
        made.join(Member(number, SessionId(number), "", 1_000, auto_extend=True))
        made.check_invariants()


def owned(made: Group) -> dict[int, int]:
    return {partition: each.owner for partition, each in made.owners.items()}


def test_the_first_member_owns_everything_at_once() -> None:
    made = group()
    join(made, 1)
    assert owned(made) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert {each.epoch for each in made.owners.values()} == {1}


def test_a_second_member_owns_nothing_before_it_is_yielded() -> None:
    made = group()
    join(made, 1, 2)
    mine, yielding = made.owned_by(1)
    assert (mine, len(yielding)) == ([0, 1, 2, 3], 2)
    assert made.owned_by(2) == ([], [])
    made.give_up(yielding[0])
    assert made.owned_by(2) == ([yielding[0]], [])
    assert made.owners[yielding[0]].epoch == 2


def test_a_partition_that_is_assigned_back_is_not_yielded() -> None:
    made = group()
    join(made, 1, 2)
    made.leave(2)
    assert made.owned_by(1) == ([0, 1, 2, 3], [])
    assert {each.epoch for each in made.owners.values()} == {1}


def test_the_epoch_of_the_group_grows_with_every_change() -> None:
    made = group()
    join(made, 1, 2)
    made.leave(1)
    assert made.leave(1) is None
    assert made.epoch == 3


def test_other_modes_know_no_owners() -> None:
    made = Group("g", GroupMode.KEYED, 0)
    join(made, 1)
    assert (made.owners, made.owned_by(1)) == ({}, ([], []))


steps = st.lists(
    st.tuples(st.sampled_from(("join", "leave", "yield")), st.integers(1, 4)), max_size=20
)


@given(steps, st.integers(1, 6))
def test_nobody_owns_a_partition_that_another_has_not_released(
    steps: list[tuple[str, int]], partitions: int
) -> None:
    made = group(partitions)
    for what, number in steps:
        before = owned(made)
        released = set()
        if what == "join":
            join(made, number)
        elif what == "leave":
            made.leave(number)
            released = {p for p, owner in before.items() if owner == number}
        else:
            released = set(made.owned_by(number)[1])
            for partition in released:
                made.give_up(partition)
        made.check_invariants()
        for partition, owner in owned(made).items():
            assert owner == before[partition] or partition in released or not before[partition]
    for partition in {p for p, each in made.owners.items() if each.owner != each.target}:
        made.give_up(partition)
    counts = [list(owned(made).values()).count(number) for number in made.members]
    assert not counts or max(counts) - min(counts) <= 1
