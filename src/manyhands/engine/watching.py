"""Whether a task changes its arguments in place: a worker looks at the first task of each function, and the caller is warned.

What is small is pickled before and after. What lies in a mapping of shared memory is not: the kernel knows which pages were
written to, as this process has its own copies of them, and these alone are compared with what they were. Used by ``worker``.
"""

from __future__ import annotations

import mmap
import os
import sys

from manyhands.transport.memory import address_of
from manyhands.transport.pagemap import own_pages
from manyhands.transport.serialize import PROTOCOL, THRESHOLD, pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pickle import PickleBuffer
    from typing import Any

_CHANGEABLE = frozenset({list, dict, set, bytearray})


class Watched:
    """Arguments as they are before a task.

    Args:
        arguments: the positional ones.
        maps: weak references to the mappings that they were made from.
    """

    def __init__(self, arguments: Sequence[Any], maps: Sequence[Any]) -> None:
        self._arguments = [each for each in arguments if type(each) in _CHANGEABLE or _is_array(each)]
        self._maps = maps if self._arguments else ()
        self._before = self._look()

    def have_changed(self) -> bool:
        """Tell whether they are not now as they were."""
        if self._before is None:
            return False
        after = self._look()
        if after is not None and after != self._before:
            return True
        return any(_has_changed(found) for found in (each() for each in self._maps) if found is not None)

    def _look(self) -> list[bytes] | None:
        if not self._arguments:
            return None
        mapped = any(each() is not None for each in self._maps)
        files = sys.modules.get("manyhands.transport.files")
        if (
            files is not None
        ):  # what is written to a mapped file is not lost, and its content is not read for this
            files.active.on = files.register()
        try:
            return [
                pickle(each, PROTOCOL, buffer_callback=_is_small if mapped else None)
                for each in self._arguments
            ]
        except Exception:
            return None
        finally:
            if files is not None:
                files.active.on = False


def _is_array(obj: Any) -> bool:
    return type(obj).__name__ == "ndarray" and type(obj.base).__name__ != "memmap"


def _is_small(buffer: PickleBuffer) -> bool:
    """What large buffers hold is in the mappings, and looked for there."""
    try:
        return buffer.raw().nbytes < THRESHOLD
    except BufferError:
        return True


def _has_changed(found: Any) -> bool:
    """Tell whether this process has changed anything in a mapping of its own."""
    view, held = memoryview(found), found.held
    try:
        pages = own_pages(address_of(view), view.nbytes)
    except OSError:
        return False
    for page in pages:
        place = page * mmap.PAGESIZE
        before = os.pread(held.remote.file, mmap.PAGESIZE, held.offset + place)
        now = view[place : place + mmap.PAGESIZE]
        if now != before[: now.nbytes]:
            return True
    return False
