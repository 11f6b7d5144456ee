"""NumPy arrays go and come as they are."""

from __future__ import annotations

import pytest

from manyhands import ProcessPool
from tests.pool import tasks
from tests.pool.conftest import PATIENCE

np = pytest.importorskip("numpy")

ARRAYS = {
    "strided": np.arange(24).reshape(4, 6)[::2, ::-3],
    "no dimension": np.array(3.5),
    "empty": np.empty((0, 3)),
    "objects": np.array([{"a": 1}, None, "text"], dtype=object),
    "structured": np.array([(1, 2.5, "x")], dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    "big-endian": np.arange(5, dtype=">i4"),
    "Fortran order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "dates": np.array(["2024-02-29", "NaT"], dtype="datetime64[D]"),
    "scalar": np.float32(1.5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_odd_numpy_arrays_arrive_equal(pool: ProcessPool, name: str) -> None:
    array = ARRAYS[name]
    back = pool.submit(tasks.identity, array).result(PATIENCE)
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_numpy_result_can_be_written_to_and_outlives_the_pool(method: str) -> None:
    with ProcessPool(1, start_method=method) as pool:
        small = pool.submit(np.arange, 10.0).result(PATIENCE)
        large = pool.submit(np.arange, 1_000_000.0).result(PATIENCE)
    for array in (small, large):
        np.add(array, 1, out=array)
        assert array[0] == 1
        assert array.sum() == len(array) * (len(array) + 1) / 2
