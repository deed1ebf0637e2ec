from hypothesis import given
from hypothesis import strategies as st

from synaxis.storage.term_runs import TermRuns


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=40),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_terms_are_those_of_a_plain_list(
    steps: list[tuple[int, int]], base: int, base_term: int
) -> None:
    runs, terms = TermRuns(base, base_term), {base: base_term}
    for back, growth in steps:
        index = max(base + 1, runs.last_index + 1 - back)
        term = terms[index - 1] + growth
        runs.put(index, term)
        terms = {i: t for i, t in terms.items() if i < index} | {index: term}
    assert runs.last_index == max(terms)
    for index in range(base + 50):
        for term in range(max(terms.values()) + 2):
            assert runs.contains(index, term) == (terms.get(index) == term)


def test_the_base_moves_up_without_changing_what_is_above_it() -> None:
    runs = TermRuns()
    for index, term in [(1, 1), (2, 1), (3, 4), (4, 4), (5, 6)]:
        runs.put(index, term)
    runs.forget_below(4)
    assert not runs.contains(3, 4)
    assert runs.contains(4, 4)
    assert runs.contains(5, 6)
