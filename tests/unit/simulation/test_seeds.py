import pytest

from synaxis.simulation.kernel import Kernel
from synaxis.simulation.seeds import QUEUES, WORLDS, Seed, mixed


@pytest.mark.parametrize("name", ["1", "17", "q1", "q400", "v3", "c4"])
def test_a_seed_is_what_its_name_says(name: str) -> None:
    assert str(Seed.parse(name)) == name


@pytest.mark.parametrize("name", ["", "q", "x1", "1q"])
def test_other_names_are_no_seeds(name: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Seed.parse(name)


def test_a_batch_goes_through_all_worlds_in_turn() -> None:
    assert [str(seed) for seed in mixed(range(1, 7))] == ["1", "q2", "c3", "4", "q5", "v6"]
    assert {seed.world for seed in mixed(range(6))} == set(WORLDS)


def test_worlds_of_one_number_have_nothing_in_common() -> None:
    locks, queues = Kernel(Seed(7)), Kernel(Seed(7, QUEUES))
    assert locks.stream("mix").random() != queues.stream("mix").random()
    assert Kernel(7).stream("mix").random() == Kernel(Seed(7)).stream("mix").random()
