"""The ledger of a call: what is out, and what is handed out next."""

from __future__ import annotations

import pytest

from manyhands.scheduling.job import Job
from manyhands.scheduling.ledger import Ledger


def ledger(*, ordered: bool = True) -> Ledger:
    return Ledger(Job(abs, abs, {}, 0, None), None, ordered=ordered, counts=False)


def test_a_task_that_is_sent_again_does_not_hide_the_rest_of_its_chunk() -> None:
    found = ledger()
    found.sent(0, "abcd")
    found.forget(0, 1)  # it has failed
    found.sent(0, "a")
    assert [found.item(index) for index in range(4)] == list("abcd")
    found.forget(0, 1)
    found.forget(1, 1)
    assert [found.item(index) for index in (2, 3)] == list("cd")
    found.forget(2, 2)
    with pytest.raises(AssertionError, match="nothing is known of task 3"):
        found.item(3)
