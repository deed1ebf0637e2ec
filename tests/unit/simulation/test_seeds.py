import pytest

from synaxis.simulation.kernel import Kernel
from synaxis.simulation.seeds import LOCKS, QUEUES, Seed, mixed


@pytest.mark.parametrize("name", ["1", "17", "q1", "q400"])
def test_a_seed_is_what_its_name_says(name: str) -> None:
    assert str(Seed.parse(name)) == name


@pytest.mark.parametrize("name", ["", "q", "x1", "1q"])
def test_other_names_are_no_seeds(name: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Seed.parse(name)


def test_a_batch_goes_through_both_worlds_in_turn() -> None:
    assert [str(seed) for seed in mixed(range(1, 5))] == ["1", "q2", "3", "q4"]
    assert {seed.world for seed in mixed(range(2))} == {LOCKS, QUEUES}


def test_worlds_of_one_number_have_nothing_in_common() -> None:
    locks, queues = Kernel(Seed(7)), Kernel(Seed(7, QUEUES))
    assert locks.stream("mix").random() != queues.stream("mix").random()
    assert Kernel(7).stream("mix").random() == Kernel(Seed(7)).stream("mix").random()
