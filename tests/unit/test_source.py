"""The input of a call: what can be taken of it."""

from __future__ import annotations

from typing import Any

import pytest

from manyhands.scheduling.source import Source


@pytest.mark.parametrize("iterable", [range(10), iter(range(10))], ids=["sequence", "iterator"])
def test_what_wasgiven_back_is_at_hand_and_remains(iterable: Any) -> None:
    """Else a batch that was stopped would go to the workers task by task."""
    source = Source([iterable])
    index, items = source.take(11)
    assert list(items) == list(range(10))
    assert source.at_hand() == source.remaining() == 0
    source.give_back(index + 3, items[3:])
    assert source.at_hand() == source.remaining() == 7
    assert source.take(5) == (3, [3, 4, 5, 6, 7])
    assert source.at_hand() == source.remaining() == 2
