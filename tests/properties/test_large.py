"""Whatever is large, in whatever it is packed, comes out as it went in: as an argument, a result, a constant, in a closure."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manyhands import parallel_map
from tests.properties.functions import examples

np = pytest.importorskip("numpy")

from tests.properties.large import (  # noqa: E402 - it imports numpy
    describe,
    keyword,
    read_only,
    same,
    summary,
    with_scribbling,
)

#: Below and above what goes through shared memory.
LENGTHS = st.sampled_from([0, 1, 7, 1000, 16_383, 16_384, 16_385, 40_000, 70_001])
#: Of the same numbers always: the content is not what matters, and shrinks badly.
NUMBERS = np.random.default_rng(1).integers(0, 1 << 62, 1 << 17)

DTYPES = (
    "f8",
    "f4",
    "i8",
    ">i4",
    "u2",
    "c16",
    "?",
    "M8[D]",
    "U7",
    "S5",
    [("a", "i4"), ("b", ">f8"), ("c", "S3")],
)


def plain_array(dtype: Any, length: int) -> Any:
    dtype = np.dtype(dtype)
    if dtype.kind in "iufcb?M":
        return (NUMBERS[:length] % 251).astype("u1" if dtype.kind == "b" else "i8").astype(dtype)
    if dtype.kind in "US":
        return (NUMBERS[:length] % 9973).astype(dtype)
    array = np.zeros(length, dtype)
    array["a"], array["b"], array["c"] = NUMBERS[:length] % 99, NUMBERS[:length] % 77 / 3, b"xyz"
    return array


LAYOUTS = {
    "as it is": lambda array: array,
    "two dimensions": lambda array: array[: len(array) // 4 * 4].reshape(4, -1),
    "Fortran": lambda array: np.asfortranarray(array[: len(array) // 4 * 4].reshape(-1, 4)),
    "every other": lambda array: array[::2],
    "reversed": lambda array: array[::-1],
    "transposed": lambda array: array[: len(array) // 6 * 6].reshape(2, 3, -1).transpose(2, 0, 1),
    "masked": lambda array: np.ma.masked_array(array, NUMBERS[: len(array)] % 3 == 0),
    "objects": lambda array: np.array([None, "x", *array[:50].tolist()], dtype=object),
    "a view of a part": lambda array: array[len(array) // 3 :],
}


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    array = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](
        plain_array(draw(st.sampled_from(DTYPES)), draw(LENGTHS))
    )
    if draw(st.booleans()):
        array = array.view()
        array.flags.writeable = False
    return array


buffers = st.builds(
    lambda kind, length: kind(NUMBERS[:length].tobytes()), st.sampled_from([bytes, bytearray]), LENGTHS
)
leaves = st.one_of(arrays(), buffers, st.integers(), st.text(max_size=5), st.none())


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """Lists, tuples and dicts of a few things, some of which are in several places."""
    things = draw(st.lists(leaves, min_size=1, max_size=4))
    thing = st.sampled_from(range(len(things))).map(things.__getitem__)
    return draw(
        st.recursive(
            thing,
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.lists(inner, max_size=3).map(tuple),
                st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            ),
            max_leaves=8,
        )
    )


def check(back: Any, sent: Any) -> None:
    """What came is what pickle alone would have made of it; and what could be written to still can."""
    assert describe(back) == describe(pickle.loads(pickle.dumps(sent, 5)))
    for before, after in zip(read_only(sent), read_only(back), strict=True):
        assert before or not after


big = np.arange(50_000.0)


@examples(60)
@given(tree=trees())
@example(tree=[big, big, {"again": big}])
@example(tree=(big[:40_000], big[10_000:]))
def test_as_argument_and_as_result(tree: Any) -> None:
    call = parallel_map(same, max_tasks_per_child=100_000, max_workers=2)
    for back in call.map([tree, tree]):
        check(back, tree)


@examples(30)
@given(tree=trees())
def test_what_a_task_sees_is_what_was_sent(tree: Any) -> None:
    expected = summary(pickle.loads(pickle.dumps(tree, 5)))
    seen, fixed = parallel_map(summary, max_tasks_per_child=100_000, max_workers=2).submit(tree).result()
    assert seen == expected[0]
    assert all(before or not after for before, after in zip(read_only(tree), fixed, strict=True))


@examples(20)
@given(tree=trees())
def test_as_a_constant_and_in_a_closure(tree: Any) -> None:
    expected = describe(pickle.loads(pickle.dumps(tree, 5)))
    options: dict[str, Any] = {"max_tasks_per_child": 100_000, "max_workers": 2}
    for seen, _ in parallel_map(keyword, **options).map(range(4), constant=tree):
        assert seen == expected
    for seen in parallel_map(lambda _: describe(tree), **options).map(range(4)):
        assert seen == expected


@pytest.mark.filterwarnings("ignore::manyhands.LostUpdateWarning")
@examples(20)
@given(things=st.lists(arrays(), min_size=1, max_size=5))
def test_what_a_task_writes_nobody_else_sees(things: list[Any]) -> None:
    before = describe(things)
    call = parallel_map(with_scribbling, max_tasks_per_child=100_000, max_workers=2)
    for seen in call.map([things] * 4):
        assert seen == describe(pickle.loads(pickle.dumps(things, 5)))
    assert describe(things) == before
