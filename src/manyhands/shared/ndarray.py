"""``SharedArray``: a ``numpy.ndarray`` in shared memory, which is pickled as an address.

Views of it (slices, transposed, reshaped, with another dtype) are in the same memory, and travel as addresses, too. What is
not in that memory, such as copies and results of arithmetic, is an ordinary array.

Loaded only where NumPy is used; ``array`` has what everything else needs.
"""

from __future__ import annotations

import math

import numpy as np

from manyhands.exceptions import SharedStateError
from manyhands.shared.handles import found
from manyhands.shared.locks import RLock
from manyhands.shared.memory import Memory, cell, memory_at
from manyhands.shared.mutex import SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.shared.segments import Address

_ALIGNED = 64

#: Bytes of an array that does not need a block of its own.
_SMALL = 1 << 14


class SharedArray(np.ndarray):
    """An array that processes share: passing it on costs nothing, and what one writes all see.

    ``manyhands.share`` and ``manyhands.shared.Array`` make them.

    Example:
        >>> import numpy as np
        >>> from manyhands import share
        >>> grid = share(np.zeros((2, 3)))
        >>> grid[0] += 1
        >>> grid
        SharedArray([[1., 1., 1.],
                     [0., 0., 0.]])
        >>> type(grid[:, 1]).__name__, type(grid * 2).__name__
        ('SharedArray', 'ndarray')
    """

    #: The memory, where it begins in this process, and at which byte of it the lock is.
    _place: tuple[Memory, int, int] | None

    def __array_finalize__(self, obj: Any) -> None:
        self._place = getattr(obj, "_place", None)

    @property
    def lock(self) -> RLock:
        """An ``RLock`` that goes with the memory: with the array and with all its views, in every process.

        Example:
            >>> from manyhands.shared import Array
            >>> bins = Array("int64", 4)
            >>> with bins.lock:
            ...     bins[2:] += 1
        """
        place = self._shared()
        if place is None:
            raise SharedStateError(
                "this array is a copy, no part of shared memory any more, and so has no lock. "
                "Use the lock of the array that it was copied from"
            )
        memory, _, lock_at = place
        return found(RLock, memory, lock_at)

    def __getitem__(self, key: Any) -> Any:
        item = super().__getitem__(key)
        return item.view(np.ndarray) if type(item) is SharedArray and item._shared() is None else item

    def copy(self, order: Any = "C") -> np.ndarray[Any, Any]:  # type: ignore[override]
        return self.view(np.ndarray).copy(order)

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        found = super().astype(*args, **kwargs)
        return found if found is self else found.view(np.ndarray)

    def flatten(self, order: Any = "C") -> Any:
        return self.view(np.ndarray).flatten(order)

    def __copy__(self) -> Any:
        return self.copy("A")

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy("A")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            kwargs["out"] = tuple(_plain(each) for each in out)
        if "where" in kwargs:
            kwargs["where"] = _plain(kwargs["where"])
        result = getattr(ufunc, method)(*(_plain(each) for each in inputs), **kwargs)
        if out is None:
            return result
        return out[0] if len(out) == 1 else out

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar else plain

    def __reduce_ex__(self, protocol: Any) -> Any:
        place = self._place
        start = _address(self) - place[1] if place is not None else -1
        if place is None or not 0 <= start <= place[0].size:
            return self.view(np.ndarray).__reduce_ex__(protocol)
        memory, _, lock_at = place
        dtype = self.dtype
        return found_at, (
            memory.address(),
            lock_at,
            self.shape,
            dtype.str
            if dtype.isbuiltin == 1 and dtype.metadata is None
            else dtype,  # a text is the quicker one
            start,
            self.strides,
            self.flags.writeable,
        )

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)

    def _shared(self) -> tuple[Memory, int, int] | None:
        """Return where this array is in shared memory, or None if it is a copy."""
        place = self._place
        return place if place is not None and 0 <= _address(self) - place[1] <= place[0].size else None


def _plain(obj: Any) -> Any:
    return obj.view(np.ndarray) if isinstance(obj, SharedArray) else obj


def _address(array: np.ndarray[Any, Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def found_at(address: Address, *place: Any) -> SharedArray:
    """Return the array at a place of the shared memory with that address; the place as for ``restored``."""
    return restored(memory_at(*address), *place)


def restored(
    memory: Memory,
    lock_at: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | str,
    start: int = 0,
    strides: tuple[int, ...] | None = None,
    writeable: bool = True,
) -> SharedArray:
    """Return the array at that place of shared memory."""
    array = SharedArray(shape, dtype, memory.map, start, strides)
    array._place = memory, _address(array) - start, lock_at
    if not writeable:
        array.flags.writeable = False
    return array


def create(shape: Any, dtype: Any, order: str = "C", *, alone: bool = False) -> SharedArray:
    """Make an array of zeros in shared memory, with its lock behind it.

    Args:
        shape: as NumPy takes it.
        dtype: as NumPy takes it.
        order: "C" or "F".
        alone: the memory is for nothing else; otherwise, small arrays share a block, which saves descriptors.

    Raises:
        TypeError: there is no such dtype, or it holds Python objects.
        ValueError: there is no such shape.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(
            f"{dtype!r} is no dtype: {error}. Use one of NumPy's, such as 'float64', or a list of fields"
        ) from None
    if kind.hasobject:
        raise TypeError(
            "Python objects cannot live in shared memory, and the dtype is {}. Use a dtype of fixed size, such as "
            "'float64' or 'U20', or a managed object".format("object" if kind.kind == "O" else kind)
        )
    if kind.itemsize == 0:
        raise TypeError(f"the dtype {kind} has no size. Say how long the texts are, as in 'U20'")
    sizes = _checked_shape(shape)
    size = -(-math.prod(sizes) * kind.itemsize // _ALIGNED) * _ALIGNED
    memory, start = (Memory(size + SIZE), 0) if alone or size > _SMALL else cell(size + SIZE)
    lock_at = start + size
    found(RLock, memory, lock_at, fresh=True)
    strides = None
    if order == "F" and len(sizes) > 1:
        strides = tuple(kind.itemsize * math.prod(sizes[:axis]) for axis in range(len(sizes)))
    return restored(memory, lock_at, sizes, kind, start, strides)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    from operator import index

    try:
        sizes = tuple(index(size) for size in shape) if np.iterable(shape) else (index(shape),)
    except TypeError:
        raise TypeError(
            f"a shape is a whole number, or a tuple of them, such as (1000, 3), not {shape!r}"
        ) from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"no size of a shape can be negative: {shape!r}")
    return sizes


def share(array: Any, *, alone: bool = False) -> SharedArray:
    """Return an array in shared memory with what is in ``array``; the very one if it is shared already."""
    if isinstance(array, SharedArray) and array._shared() is not None:
        return array
    if not isinstance(array, np.ndarray):
        array = np.frombuffer(array, np.uint8) if memoryview(array).nbytes else np.empty(0, np.uint8)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("a masked array cannot be shared as one: share its .data and its .mask")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    made = create(array.shape, array.dtype, order, alone=alone)
    made.view(np.ndarray)[...] = array
    return made
