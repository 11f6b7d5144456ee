"""What the small shared objects have in common: each lives in a cell of shared memory, and is one object in each process."""

from __future__ import annotations

from _struct import calcsize

from manyhands.shared import memory as blocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from manyhands.shared.memory import Memory

    H = TypeVar("H", bound="Handle")


class Handle:
    """An object in a cell of shared memory; pickled it is an address, and unpickled the same object.

    A subclass makes its cell with ``_begin``, and sets itself up from it, new or not, in ``_attach``.
    """

    __slots__ = ("__weakref__", "_memory", "_offset")

    def _begin(self, size: int, *more: Any) -> None:
        """Take a cell of so many bytes; ``more`` is what ``_attach`` is given, here and wherever this arrives."""
        memory, offset = blocks.cell(size)
        self._attach_to(memory, offset, more, fresh=True)

    def _attach_to(self, memory: Memory, offset: int, more: tuple[Any, ...], *, fresh: bool) -> None:
        self._memory, self._offset = memory, offset
        self._attach(*more, fresh=fresh)
        memory.objects[offset] = self

    #: ``_attach(*more, fresh)``: set up what this process needs; in a fresh cell, also what is in it.
    _attach: Any

    def _more(self) -> tuple[Any, ...]:
        """Return what ``_attach`` needs besides the memory."""
        return ()

    def _words(self, code: str, start: int, count: int) -> memoryview:
        """Return so many numbers of this cell, from byte ``start`` on, as a view."""
        start += self._offset
        view = memoryview(self._memory.map)[start : start + calcsize(code) * count]
        return view.cast(code)  # type: ignore[call-overload,no-any-return,unused-ignore]

    def __reduce__(self) -> tuple[Callable[..., Handle], tuple[Any, ...]]:
        return found, (type(self), self._memory, self._offset, self._more())

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, memo: object) -> Handle:
        return self


def found(cls: type[H], memory: Memory, offset: int, more: tuple[Any, ...] = (), *, fresh: bool = False) -> H:
    """Return this process's object for a cell: the one that is there, or a new one."""
    with blocks._guard:
        handle: H | None = memory.objects.get(offset)
        if handle is None:
            handle = cls.__new__(cls)
            handle._attach_to(memory, offset, more, fresh=fresh)
    return handle
