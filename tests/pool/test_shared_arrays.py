"""A shared array is the same memory in every process, with all that is a view of it, and nothing else is."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import ProcessPool, SharedStateError, parallel_map, share, shared_array
from manyhands.shared import Array, array
from tests.pool import sharing
from tests.pool.conftest import PATIENCE

np = pytest.importorskip("numpy")

from manyhands.shared.ndarray import SharedArray  # noqa: E402 - it imports numpy

SOURCES = {
    "plain": np.arange(24.0).reshape(4, 6),
    "Fortran order": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "strided": np.arange(24).reshape(4, 6)[::2, ::-3],
    "no dimension": np.array(3.5),
    "empty": np.empty((0, 3)),
    "structured": np.array([(1, 2.5, "x")], dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    "big-endian": np.arange(5, dtype=">i4"),
    "dates": np.array(["2024-02-29", "NaT"], dtype="datetime64[D]"),
    "texts": np.array(["a", "bcd"]),
    "read-only": np.frombuffer(b"abc", np.uint8),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_shared_is_equal_and_arrives_so(pool: ProcessPool, name: str) -> None:
    source = SOURCES[name]
    shared = share(source)
    assert isinstance(shared, np.ndarray)
    assert (shared.dtype, shared.shape, shared.flags.writeable) == (source.dtype, source.shape, True)
    assert shared.flags.f_contiguous == source.flags.f_contiguous or not source.flags.forc
    np.testing.assert_array_equal(shared, source)
    back = pool.submit(sharing.send_back, shared).result(PATIENCE)
    np.testing.assert_array_equal(back, source)
    assert np.shares_memory(back, shared) or not source.size


INDEX = st.one_of(
    st.integers(-4, 3), st.slices(4), st.just(Ellipsis), st.none(), st.tuples(st.slices(4), st.slices(5))
)


@given(st.lists(INDEX, max_size=3), st.sampled_from([pickle, cloudpickle]))
def test_a_view_travels_as_that_view(keys: list[Any], pickler: Any) -> None:
    view = share(np.arange(60, dtype="i2").reshape(4, 5, 3))
    for key in keys:
        try:
            view = view[key]
        except IndexError:
            break
    back = pickle.loads(pickler.dumps(view))
    np.testing.assert_array_equal(back, view)
    if isinstance(view, SharedArray) and view.size:
        assert back.strides == view.strides
        back[...] = 99
        assert (view == 99).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a.reshape(-1),
        lambda a: a.view("i8"),
        lambda a: a[::-1, 1:3],
        lambda a: a[None, 2],
        lambda a: a.real,
        np.transpose,
        lambda a: a.ravel(),
        lambda a: np.broadcast_to(a[0], (3, 6), subok=True),
    ],
)
def test_views_share(view: Any) -> None:
    shared = share(SOURCES["plain"])
    part = view(shared)
    back = pickle.loads(pickle.dumps(part))
    assert isinstance(back, SharedArray)
    assert np.shares_memory(back, shared)
    assert back.flags.writeable == part.flags.writeable
    np.testing.assert_array_equal(back, part)


@pytest.mark.parametrize(
    "copied",
    [
        lambda a: a + 1,
        lambda a: 1 - a,
        lambda a: a == 3,
        np.sin,
        np.add.reduce,
        lambda a: a.sum(axis=0),
        lambda a: a.copy(),
        lambda a: a.astype("f4"),
        lambda a: a.flatten(),
        lambda a: a[[0, 1]],
        lambda a: a[a > 3],
        lambda a: np.concatenate([a, a]),
        copy.copy,
        copy.deepcopy,
        np.array,
        lambda a: a @ a.T,
    ],
)
def test_copies_and_results_are_ordinary(copied: Any) -> None:
    shared = share(SOURCES["plain"])
    result = copied(shared)
    assert type(result) is np.ndarray
    assert not np.shares_memory(result, shared)
    np.testing.assert_array_equal(result, copied(np.asarray(shared)))


def test_what_is_a_copy_after_all_travels_as_one() -> None:
    part = np.take(share(SOURCES["plain"]), [1, 2]).view(SharedArray)
    assert type(pickle.loads(pickle.dumps(part))) is np.ndarray
    with pytest.raises(SharedStateError, match="no part of shared memory"):
        _ = part.lock


def test_arithmetic_in_place_stays_shared() -> None:
    shared = before = share(np.zeros(4))
    shared += 1
    np.multiply(shared, 3, out=shared)
    shared[1:3] -= 1
    assert shared is before
    assert pickle.loads(pickle.dumps(before)).tolist() == [3, 2, 2, 3]


def test_sharing_what_is_shared_returns_it() -> None:
    shared = share(np.zeros(4))
    assert share(shared) is shared
    part = shared[1:]
    assert share(part) is part


@pytest.mark.parametrize("source", [b"abc", bytearray(b"abc"), memoryview(b"abc"), b""])
def test_bytes_become_an_array_of_them(source: Any) -> None:
    shared = share(source)
    assert (shared.dtype, shared.tobytes()) == (np.uint8, bytes(source))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ([1, 2], "only arrays and bytes can be shared, not list"),
        (np.array([None]), "the dtype is object"),
        (np.zeros(1, [("a", object)]), "Python objects cannot live"),
        (np.ma.masked_array([1], [True]), "share its .data and its .mask"),
    ],
)
def test_what_cannot_be_shared_is_refused(source: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        share(source)


@pytest.mark.parametrize(
    ("dtype", "shape", "error", "text"),
    [
        ("floaty", 3, TypeError, "is no dtype"),
        (object, 3, TypeError, "Python objects cannot live"),
        ("U", 3, TypeError, "has no size"),
        (float, 2.5, TypeError, "a shape is a whole number"),
        (float, (2, "x"), TypeError, "a shape is a whole number"),
        (float, (2, -1), ValueError, "can be negative"),
    ],
)
def test_misfits_are_refused(dtype: Any, shape: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        Array(dtype, shape)


def test_a_shape_that_does_not_fit_is_refused_by_numpy() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        Array("float64", (2, 3))[...] = np.zeros(5)


def test_workers_writes_are_seen_by_all(any_pool: ProcessPool) -> None:
    shared = Array("float64", (4, 3))
    for future in [any_pool.submit(sharing.fill, shared[n], n) for n in range(4)]:
        future.result(PATIENCE)
    np.testing.assert_array_equal(shared, np.arange(4.0)[:, None].repeat(3, 1))


def test_a_spawned_child_of_multiprocessing_writes_to_it() -> None:
    shared = share(np.zeros(3))
    assert sharing.spawned(sharing.fill, shared, 2.0) == 0
    assert shared.tolist() == [2, 2, 2]


def test_mapping_over_a_shared_constant_warns_of_no_lost_update() -> None:
    shared = share(np.zeros(500))

    def fill(index: int, into: Any) -> None:
        into[index] = index

    # In workers in any case: memory that was sent off and that nobody has opened is kept for a minute.
    parallel_map(fill, max_workers=2, max_tasks_per_child=1_000).map(range(500), into=shared)
    assert shared.tolist() == list(range(500))


def test_one_made_in_a_worker_and_returned_works_here_when_the_worker_has_ended() -> None:
    with ProcessPool(1) as pool:
        shared = pool.submit(share, np.full(1000, 7.0)).result(PATIENCE)
        assert isinstance(shared, SharedArray)
    assert shared.sum() == 7000
    with ProcessPool(1) as other:
        assert other.submit(sharing.total, shared).result(PATIENCE) == 7000


def test_one_that_nobody_keeps_here_arrives_all_the_same(any_pool: ProcessPool) -> None:
    futures = [any_pool.submit(sharing.total, share(np.ones(n))) for n in range(20)]
    assert [future.result(PATIENCE) for future in futures] == list(range(20))


def test_the_lock_is_that_of_all_its_views(pool: ProcessPool) -> None:
    bins = Array("int64", 4)
    with bins.lock:
        assert bins[2:].lock.locked()
        assert pickle.loads(pickle.dumps(bins)).lock is bins.lock
    assert not bins.lock.locked()


def test_many_small_ones_take_few_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    arrays = [share(np.full(n, n)) for n in range(500)]
    assert len(os.listdir("/proc/self/fd")) < before + 20
    assert all((array == n).all() for n, array in enumerate(arrays))
    with arrays[0].lock:
        assert not arrays[1].lock.locked()


def test_it_takes_no_descriptors_once_it_is_gone() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        share(np.zeros(10_000))
    assert len(os.listdir("/proc/self/fd")) == before


class TestInABlock:
    def test_it_is_there_inside_and_taken_away_after(self, pool: ProcessPool) -> None:
        with shared_array((3,)) as zeros:
            sent = pickle.dumps(zeros)
            pool.submit(sharing.fill, zeros, 2.0).result(PATIENCE)
            assert zeros.tolist() == [2, 2, 2]
        with pytest.raises(SharedStateError, match="taken away here"):
            pickle.dumps(zeros)
        with pytest.raises(SharedStateError, match="is gone"):
            pool.submit(pickle.loads, sent).result(PATIENCE)
        assert zeros.sum() == 6  # whoever has a view can use it

    def test_an_exception_takes_it_away_too(self) -> None:
        with pytest.raises(ZeroDivisionError), shared_array(np.arange(3)) as numbers:
            1 / numbers.tolist()[0]
        with pytest.raises(SharedStateError):
            pickle.dumps(numbers)

    def test_what_is_shared_already_or_has_a_type_already_is_refused(self) -> None:
        with pytest.raises(ValueError, match="shared already"):
            shared_array(share(np.zeros(3)))
        with pytest.raises(TypeError, match="a dtype is for a shape"):
            shared_array(np.zeros(3), "int64")
        with pytest.raises(TypeError, match="only arrays and bytes can be shared, not list"):
            shared_array([1, 2])


class TestWithoutNumPy:
    def test_an_array_is_a_sequence_of_numbers(self, any_pool: ProcessPool) -> None:
        numbers = array.Numbers("float64", 4)
        any_pool.submit(sharing.fill_numbers, numbers, 2.5).result(PATIENCE)
        assert list(numbers) == [2.5] * 4
        assert numbers.array[1:3].tolist() == [2.5, 2.5]
        with numbers.lock:
            assert pickle.loads(pickle.dumps(numbers)) is numbers

    @pytest.mark.parametrize(
        ("dtype", "shape", "error"),
        [
            ("complex128", 3, TypeError),
            ("d", (2, 2), TypeError),
            ("d", -1, ValueError),
            ("d", "x", TypeError),
        ],
    )
    def test_what_needs_numpy_is_refused_by_name(self, dtype: Any, shape: Any, error: type) -> None:
        with pytest.raises(error, match=r"NumPy is not installed|negative"):
            array.Numbers(dtype, shape)
