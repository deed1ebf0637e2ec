"""Members and owners of a group: release before assign."""

from hypothesis import given
from hypothesis import strategies as st

from synaxis.ids import SessionId
from synaxis.queues.commands import GroupMode
from synaxis.queues.group import Group, Member, Ownership


def exclusive(partitions: int = 4) -> Group:
    group = Group("g", GroupMode.EXCLUSIVE, 0)
    group.owners = {number: Ownership() for number in range(partitions)}
    return group


def member(number: int, name: str = "") -> Member:
    return Member(number, SessionId(number), name, 30_000, True)


def owners(group: Group) -> list[int]:
    return [each.owner for each in group.owners.values()]


def test_the_first_member_gets_everything_at_once() -> None:
    group = exclusive()
    group.join(member(1))
    assert owners(group) == [1, 1, 1, 1]
    assert {each.epoch for each in group.owners.values()} == {1}
    group.check_invariants()


def test_a_second_member_gets_nothing_before_the_first_gives_something_up() -> None:
    group = exclusive()
    group.join(member(1))
    group.join(member(2))
    assert owners(group) == [1, 1, 1, 1]
    owned, yielding = group.owned_by(1)
    assert (owned, len(yielding)) == ([0, 1, 2, 3], 2)
    assert group.owned_by(2) == ([], [])


def test_a_partition_that_is_given_up_goes_to_whom_it_is_assigned_to() -> None:
    group = exclusive()
    group.join(member(1))
    group.join(member(2))
    _, yielding = group.owned_by(1)
    group.give_up(yielding[0])
    assert group.owned_by(2) == ([yielding[0]], [])
    assert group.owners[yielding[0]].epoch == 2
    assert group.owners[yielding[1]] == Ownership(owner=1, target=2, epoch=1)
    group.check_invariants()


def test_what_a_member_that_leaves_owned_is_free_at_once() -> None:
    group = exclusive()
    group.join(member(1))
    group.join(member(2))
    assert group.leave(1) == member(1)
    assert owners(group) == [2, 2, 2, 2]
    group.check_invariants()


def test_a_member_that_leaves_before_it_got_anything_leaves_the_others_alone() -> None:
    group = exclusive()
    group.join(member(1))
    group.join(member(2))
    group.leave(2)
    assert group.owned_by(1) == ([0, 1, 2, 3], [])
    assert {each.epoch for each in group.owners.values()} == {1}


def test_without_members_nobody_owns_anything() -> None:
    group = exclusive()
    group.join(member(1))
    group.leave(1)
    assert {(each.owner, each.target) for each in group.owners.values()} == {(0, 0)}
    group.check_invariants()


def test_an_ownership_that_begins_again_has_another_epoch() -> None:
    group = exclusive(1)
    for _ in range(3):
        group.join(member(1))
        group.leave(1)
    assert group.owners[0].epoch == 3


def test_every_change_of_members_is_another_epoch_of_the_group() -> None:
    group = exclusive()
    epochs = [group.epoch]
    group.join(member(1))
    epochs.append(group.epoch)
    group.join(member(1, "renamed"))
    epochs.append(group.epoch)
    group.leave(1)
    epochs.append(group.epoch)
    assert epochs == [0, 1, 2, 3]


def test_leaving_twice_is_leaving_once() -> None:
    group = exclusive()
    group.join(member(1))
    group.leave(1)
    assert group.leave(1) is None
    assert group.epoch == 2


def test_more_members_than_partitions_leave_some_without() -> None:
    group = exclusive(2)
    for number in (1, 2, 3):
        group.join(member(number))
    for partition, each in group.owners.items():
        if each.owner != each.target:
            group.give_up(partition)
    assert len(set(owners(group))) == 2


def test_only_exclusive_groups_have_owners() -> None:
    for mode in (GroupMode.SHARED, GroupMode.KEYED):
        group = Group("g", mode, 0)
        group.join(member(1))
        assert group.owned_by(1) == ([], [])


def owned(group: Group) -> dict[int, int]:
    return {partition: each.owner for partition, each in group.owners.items()}


steps = st.lists(
    st.tuples(st.sampled_from(("join", "leave", "yield")), st.integers(1, 4)), max_size=20
)


@given(steps, st.integers(1, 6))
def test_nobody_owns_a_partition_that_another_has_not_released(
    steps: list[tuple[str, int]], partitions: int
) -> None:
    made = exclusive(partitions)
    for what, number in steps:
        before = owned(made)
        released = set()
        if what == "join":
            made.join(member(number))
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
