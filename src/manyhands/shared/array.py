"""Arrays in shared memory: ``share``, ``shared_array`` and ``Array``.

With NumPy they are ``numpy.ndarray`` (``ndarray.SharedArray``). Without it, an ``Array`` of one dimension is a
``Numbers``: a sequence of numbers of one type, which can be viewed as a ``memoryview``.
"""

from __future__ import annotations

from manyhands.shared.handles import Handle, found
from manyhands.shared.locks import RLock
from manyhands.shared.mutex import SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from manyhands.shared.memory import Memory
    from manyhands.shared.ndarray import SharedArray

_NUMPY = "NumPy is not installed here, and without it {}. Install manyhands[numpy], or use {}"


def share(array: Any, /) -> SharedArray:
    """Return an array with the same content that lives in shared memory: passing it on costs nothing.

    It is a ``numpy.ndarray``, and so are its slices and views, which are in the same memory and cost nothing to pass on
    either. What one process writes, all see. There is no order between processes that write to the same place: give each its
    own part, or hold ``array.lock``. Copies, and results of arithmetic, are ordinary arrays.

    The memory is there for as long as any process has the array or a view of it. One that a task returns stays when
    its worker ends, once it has arrived.

    Args:
        array: a NumPy array, or anything with bytes in it (``bytes``, ``bytearray``, ``memoryview``, ...), which becomes
            an array of ``uint8``. One that is shared already is returned as it is.

    Raises:
        TypeError: it is no array, or it holds Python objects, which cannot live in shared memory.

    Example:
        >>> import numpy as np
        >>> from manyhands import parallel_map, share
        >>> squares = share(np.zeros(4))
        >>> @parallel_map
        ... def fill(i, into):
        ...     into[i] = i * i
        >>> fill.map(range(4), into=squares)
        [None, None, None, None]
        >>> squares.tolist()
        [0.0, 1.0, 4.0, 9.0]
    """
    return _share(array, alone=False)


def _share(array: Any, *, alone: bool) -> SharedArray:
    try:
        from manyhands.shared import ndarray
    except ImportError:
        raise TypeError(_NUMPY.format("arrays cannot be shared", "manyhands.shared.Array")) from None
    try:
        return ndarray.share(array, alone=alone)
    except (BufferError, TypeError) as error:
        if hasattr(array, "__array_interface__") or "memoryview" not in str(error):
            raise
        raise TypeError(
            f"only arrays and bytes can be shared, not {type(array).__name__}. Make an array of it: numpy.asarray(...)"
        ) from None


class shared_array:  # noqa: N801 - used as a function
    """A shared array for the length of a ``with`` block, which is taken away at its end, however it ends.

    After that, no process can open it any more; the memory goes with the last view of it. Those who still have a view
    can go on using that.

    Args:
        array: what is to be in it, as for ``share``; or a shape (a number or a tuple), for an array of zeros.
        dtype: of which type, if a shape was given. The default is ``float64``.

    Raises:
        SharedStateError: it is sent, or opened, after the end.

    Example:
        >>> from manyhands import parallel_map, shared_array
        >>> @parallel_map
        ... def count(i, into):
        ...     into[i] += 1
        >>> with shared_array((3,), "int64") as counts:
        ...     _ = count.map([0, 1, 2, 0], into=counts)
        ...     counts.tolist()
        [2, 1, 1]
    """

    def __init__(self, array: Any, dtype: Any = None) -> None:
        if isinstance(array, (int, tuple)):
            self._array: SharedArray = _zeros("float64" if dtype is None else dtype, array, alone=True)
        else:
            if dtype is not None:
                raise TypeError("a dtype is for a shape: an array has its own. Use array.astype(dtype)")
            self._array = _share(array, alone=True)
            if self._array is array:
                raise ValueError(
                    "this array is shared already, and goes when nobody uses it any more. "
                    "Give shared_array() a shape or an ordinary array"
                )
        place = getattr(self._array, "_place", None)
        self._memory: Memory = self._array._memory if place is None else place[0]  # type: ignore[attr-defined]

    def __enter__(self) -> SharedArray:
        return self._array

    def __exit__(self, *_: object) -> None:
        self._memory.close()
        del self._array


def Array(dtype: Any, shape: Any) -> SharedArray:  # noqa: N802 - makes one
    """Return an array of zeros in shared memory.

    It is a ``numpy.ndarray``, as those of ``share``: with slices, arithmetic in place and all else, and a ``lock``. Where
    NumPy is not installed it is a plain sequence of numbers.

    Args:
        dtype: the type of its elements, as NumPy knows it: ``"float64"``, ``int``, ... (without NumPy: "d", "q", ...).
        shape: how many there are, in each direction.

    Raises:
        TypeError: there is no such dtype, or it is one of Python objects, which cannot live in shared memory.
        ValueError: there is no such shape.

    Example:
        >>> from manyhands.shared import Array
        >>> grid = Array("float64", (2, 2))
        >>> grid[0] = 1
        >>> grid.sum()
        np.float64(2.0)
    """
    return _zeros(dtype, shape, alone=False)


def _zeros(dtype: Any, shape: Any, *, alone: bool) -> SharedArray:
    try:
        from manyhands.shared import ndarray
    except ImportError:
        return Numbers(dtype, shape)  # type: ignore[return-value]
    return ndarray.create(shape, dtype, alone=alone)


class Numbers(Handle):
    """A sequence of numbers in shared memory, for where NumPy is not installed.

    Args:
        dtype: a code of ``struct`` ("d", "q", ...), ``int``, ``float``, ``bool``, or a name of NumPy's for one of these.
        shape: how many.

    Example:
        >>> numbers = Numbers("d", 3)
        >>> numbers[1] = 2.5
        >>> list(numbers)
        [0.0, 2.5, 0.0]
    """

    __slots__ = ("_code", "_count", "_lock", "array")

    def __init__(self, dtype: Any, shape: Any) -> None:
        from _struct import calcsize

        from manyhands.shared.memory import Memory

        name = getattr(dtype, "_type_", dtype)
        code = _CODES.get(name, name)
        if not isinstance(code, str) or len(code) != 1 or code not in "?bBhHiIlLqQfd":
            raise TypeError(
                _NUMPY.format(f"no array can be of type {dtype!r}", "a code of struct, such as 'd'")
            )
        count = shape[0] if isinstance(shape, (tuple, list)) and len(shape) == 1 else shape
        if not isinstance(count, int):
            raise TypeError(
                _NUMPY.format(f"an array has one dimension, not {shape!r}", "a number of elements")
            )
        if count < 0:
            raise ValueError(f"no size of a shape can be negative: {shape!r}")
        size = -(-count * calcsize(code) // 64) * 64
        self._attach_to(Memory(size + SIZE), 0, (code, count), fresh=True)

    def _attach(self, code: str, count: int, *, fresh: bool) -> None:
        self._code, self._count = code, count
        #: A view of the numbers: slices of it are in the same memory (and do not travel by themselves).
        self.array = self._words(code, 0, count)
        self._lock = found(RLock, self._memory, self._memory.size - SIZE, fresh=fresh)

    def _more(self) -> tuple[Any, ...]:
        return self._code, self._count

    @property
    def lock(self) -> RLock:
        """An ``RLock`` that goes with it."""
        return self._lock

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.array[key] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array)

    def __repr__(self) -> str:
        return f"<{self._count} shared numbers of type {self._code!r}>"


_CODES: dict[Any, str] = {
    int: "q",
    float: "d",
    bool: "?",
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
