"""A shared value holds what its type can hold, and no change to it is ever lost."""

from __future__ import annotations

import ctypes
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import ProcessPool
from manyhands.shared import Value
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

INT64 = st.integers(-(2**63), 2**63 - 1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(-(2**64), 2**64)),
        st.tuples(st.sampled_from(["set", "max", "min"]), INT64),
        st.tuples(st.just("compare_and_set"), INT64, INT64),
    )
)


@given(INT64, STEPS)
def test_it_does_what_a_number_does_or_refuses(start: int, steps: list[tuple[Any, ...]]) -> None:
    value, model = Value(int, start), start
    for name, *args in steps:
        if name == "compare_and_set":
            assert value.compare_and_set(*args) == (model == args[0])
            model = args[1] if model == args[0] else model
            continue
        new = {
            "add": model + args[0],
            "set": args[0],
            "max": max(model, args[0]),
            "min": min(model, args[0]),
        }[name]
        if -(2**63) <= new < 2**63:
            result = getattr(value, name)(*args)
            assert result == (None if name == "set" else new)
            model = new
        else:
            with pytest.raises(OverflowError, match=f"cannot hold {new}"):
                getattr(value, name)(*args)
        assert value.get() == value.value == model
        assert not value.lock.locked()


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_float_is_a_double(first: float, second: float) -> None:
    value = Value(float, first)
    assert value.max(second) == max(first, second)
    value.set(first)
    assert value.min(second) == min(first, second)
    value.value = first
    assert (value.add(second) == first + second) or first + second != first + second


@pytest.mark.parametrize(
    ("ctype", "number"),
    [
        (ctypes.c_int, 2**31 - 1),
        (ctypes.c_ubyte, 255),
        ("h", -(2**15)),
        ("Q", 2**64 - 1),
        (ctypes.c_double, 0.1),
        (ctypes.c_float, 0.5),
        (bool, True),
        (ctypes.c_bool, True),
    ],
)
def test_types_of_ctypes_and_codes_of_struct(ctype: Any, number: Any) -> None:
    value = Value(ctype, number)
    assert (value.value, type(value.value)) == (number, type(number))
    assert repr(value) == f"Value({number!r})"


@pytest.mark.parametrize(
    ("ctype", "number", "error", "text"),
    [
        (int, 2**63, OverflowError, "whole numbers of 8 bytes. Use float, or a managed object"),
        ("i", -(2**31) - 1, OverflowError, "Use int, which has 8 bytes"),
        ("B", -1, OverflowError, "none of them negative"),
        (int, 0.5, TypeError, "Use float, or round it"),
        (int, "1", TypeError, "of type str. Convert it"),
        (float, None, TypeError, "of type NoneType"),
        (bool, 2, TypeError, "Use True or False"),
        (list, [], TypeError, "an Array for many numbers, a managed object for anything else"),
        ("ii", 1, TypeError, "one number of a fixed size"),
        (ctypes.c_char, b"x", TypeError, "one number of a fixed size"),
        ([], 1, TypeError, "one number of a fixed size"),
    ],
)
def test_what_it_cannot_hold_is_refused_with_the_cure(
    ctype: Any, number: Any, error: type, text: str
) -> None:
    with pytest.raises(error, match=text):
        Value(ctype, number)


def test_numbers_of_other_libraries_become_python_s_own() -> None:
    np = pytest.importorskip("numpy")
    value, real = Value(int, np.int64(2**62)), Value(float, np.float32(0.5))
    assert type(value.add(np.int32(1))) is type(value.max(np.int64(3))) is int
    with pytest.raises(OverflowError):
        value.add(np.int64(2**62))  # which NumPy would have wrapped around
    assert (real.add(np.float64(0.5)), type(real.get()), real.add(Fraction(1, 2))) == (1.0, float, 1.5)


def test_a_refused_change_changes_nothing_and_leaves_the_lock_free() -> None:
    value = Value(int, 5)
    for change in (
        lambda: value.add("x"),
        lambda: value.add(0.5),
        lambda: value.max(5.5),
        lambda: value.set(2**63),
        lambda: value.compare_and_set(5, None),
    ):
        with pytest.raises((TypeError, OverflowError)):
            change()
        assert (value.value, value.lock.locked()) == (5, False)
    with pytest.raises(TypeError, match="cannot be added to"):
        Value(bool).add(1)


def test_all_methods_can_be_called_while_its_lock_is_held() -> None:
    value = Value(int, 1)
    with value.lock:
        assert (value.add(1), value.max(5), value.min(3), value.compare_and_set(3, 4)) == (2, 5, 3, True)
        value.set(9)
        assert value.lock.locked()
    assert (value.get(), value.lock.locked()) == (9, False)


def test_it_is_one_object_in_one_process_and_so_is_its_lock() -> None:
    value = Value(int, 1)
    assert pickle.loads(pickle.dumps(value)) is value
    assert pickle.loads(pickle.dumps(value.lock)) is value.lock
    lock = value.lock
    sent = pickle.dumps(value)
    del value
    assert pickle.loads(sent).lock is lock


@pytest.mark.parametrize("function", [sharing.add, sharing.add_slowly])
@pytest.mark.parametrize("kind", sharing.BESIDE)
def test_no_addition_is_lost(kind: str, function: Any) -> None:
    value = Value(int)
    with sharing.beside(kind, function, value, 2_000), sharing.beside("thread", function, value, 2_000):
        function(value, 2_000)
    assert value.value == 6_000


def test_no_addition_of_workers_is_lost(any_pool: ProcessPool) -> None:
    value = Value(int)
    futures = [any_pool.submit(sharing.add, value, 500) for _ in range(6)]
    for future in futures:
        future.result(PATIENCE)
    assert value.value == 3_000


def test_a_spawned_child_of_multiprocessing_adds_to_it() -> None:
    value = Value(int)
    assert sharing.spawned(sharing.add, value, 500) == 0
    assert value.value == 500


def test_one_who_dies_with_the_lock_of_a_value_keeps_nobody_from_it() -> None:
    value = Value(int, 3)

    def child() -> None:
        value.lock.acquire()
        sharing.die()

    assert sharing.in_child(child) == -9
    assert value.add(1) == 4
    assert sharing.in_child(child) == -9
    with value.lock:
        assert value.lock.holder_died
    assert not value.lock.holder_died
