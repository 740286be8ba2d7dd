import pytest

from service.client.patience import FIRST_S, MOST_S, Patience
from service.client.problems import Problem, Trouble

TROUBLE = Trouble("No connection")


def test_waits_grow_to_a_bound_and_hold_a_part_of_chance():
    runs = [[patience.wait_s(TROUBLE) for _ in range(12)] for patience in [Patience(12, lambda: 0) for _ in range(20)]]
    for waits in runs:
        for number, wait_s in enumerate(waits):
            most = min(MOST_S, FIRST_S * 2**number)
            assert most / 2 <= wait_s <= most
    assert len({waits[5] for waits in runs}) > 10


def test_it_ends_after_so_many_failures_without_progress():
    patience = Patience(3, lambda: 0)
    patience.note(100)
    for _ in range(3):
        patience.wait_s(TROUBLE)
        patience.note(100)
        patience.note(50)
    with pytest.raises(Problem, match="No connection") as caught:
        patience.wait_s(TROUBLE)
    assert caught.value.code == "given-up"


def test_progress_makes_it_new():
    patience = Patience(2, lambda: 0)
    for offset in range(100):
        patience.note(offset)
        assert patience.wait_s(TROUBLE) <= FIRST_S
        patience.wait_s(TROUBLE)


def test_without_retries_the_first_failure_is_the_last():
    with pytest.raises(Problem):
        Patience(0, lambda: 0).wait_s(TROUBLE)


def test_an_upload_that_begins_anew_makes_progress_from_there():
    patience = Patience(1, lambda: 0)
    patience.note(1000)
    patience.wait_s(TROUBLE)
    patience.start_over()
    patience.note(10)
    patience.wait_s(TROUBLE)


def test_the_wish_of_the_service_is_kept():
    patience = Patience(9, lambda: 0)
    waits = [patience.wait_s(Trouble("Busy", retry_after=7)) for _ in range(9)]
    assert all(7 <= wait_s <= 7 + FIRST_S for wait_s in waits)


@pytest.mark.parametrize(("moves", "is_for_all"), [([5, 5], True), ([5, 6], False)])
def test_giving_up_is_for_all_files_when_nothing_moved_meanwhile(moves, is_for_all):
    patience = Patience(1, iter(moves).__next__)
    patience.wait_s(TROUBLE)
    with pytest.raises(Problem) as caught:
        patience.wait_s(TROUBLE)
    assert caught.value.is_for_all is is_for_all
