"""Numbers of tasks, threads and named owners."""

import asyncio
import threading

from synaxis.client.owners import owner_of_task, owner_of_text, owner_of_thread


async def test_a_task_keeps_its_number_and_no_other_task_gets_it() -> None:
    numbers: list[int] = []

    async def look() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert owner_of_task(task) == owner_of_task(task)
        numbers.append(owner_of_task(task))

    for _ in range(50):  # ids of finished tasks are used again at once; these must not be
        await asyncio.get_running_loop().create_task(look())
    assert len(set(numbers)) == 50


def test_threads_have_numbers_of_their_own() -> None:
    numbers = [owner_of_thread(), owner_of_thread()]
    thread = threading.Thread(target=lambda: numbers.append(owner_of_thread()))
    thread.start()
    thread.join()
    assert numbers[0] == numbers[1] != numbers[2]


def test_named_owners_are_equal_everywhere_and_never_meet_numbered_ones() -> None:
    assert owner_of_text("job 7") == owner_of_text("job 7") != owner_of_text("job 8")
    assert owner_of_text("job 7") == 7_753_807_839_806_777_475, "equal in every process"
    assert 1 << 62 <= owner_of_text("") < 1 << 63
