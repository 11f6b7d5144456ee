"""``f.check`` compares by structure: copies are equal, and what differs has a place."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from manyhands.scheduling.compare import mismatch
from tests.properties.functions import examples, exceptions, values


class Holder:
    """An object without an ``__eq__``."""

    def __init__(self, value: Any) -> None:
        self.value = value


things = st.recursive(
    values | exceptions, lambda inner: st.builds(Holder, inner) | st.lists(inner, max_size=2), max_leaves=4
)


@examples(60)
@given(values | st.builds(Holder, values) | st.lists(st.builds(Holder, values), max_size=3))
def test_a_copy_is_equal(value: Any) -> None:
    assert mismatch(value, pickle.loads(pickle.dumps(value)), "x") is None


@examples(60)
@given(values, values)
def test_it_finds_a_difference_where_there_is_one(one: Any, other: Any) -> None:
    assume(repr(one) != repr(other))
    assume(not any(isinstance(each, frozenset) and each for each in (one, other)))
    assume(repr(one).replace("-0.0", "0.0") != repr(other).replace("-0.0", "0.0"))
    assume("frozenset" not in repr(one))
    assert mismatch(one, other, "x") is not None


@examples(60)
@given(things, things)
def test_it_is_the_same_both_ways(one: Any, other: Any) -> None:
    assert (mismatch(one, other, "x") is None) == (mismatch(other, one, "x") is None)


@examples(60)
@given(values, st.integers())
def test_the_place_leads_to_what_is_shown(value: Any, end: int) -> None:
    """A value changed somewhere inside: evaluating the place gives the two that are shown."""
    one = {"a": [value, (1, end)]}
    other = copy.deepcopy(one)
    other["a"][1] = (1, end + 1)
    found = mismatch(one, other, "x")
    assert found == ("x['a'][1][1]", repr(end), repr(end + 1)) or len(repr(end)) > 50
