"""The catalogue of faults: NumPy arrays, with every start method.

A file of its own, so that the library, which starts threads, is loaded before a test begins.
"""

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
}


def test_odd_numpy_arrays_arrive_equal_with_every_start_method(any_pool: ProcessPool) -> None:
    """row: numpy_odd_arrays."""
    futures = {name: any_pool.submit(tasks.identity, array) for name, array in ARRAYS.items()}
    for name, future in futures.items():
        back = future.result(PATIENCE)
        assert type(back) is type(ARRAYS[name])
        assert back.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(back, ARRAYS[name])
