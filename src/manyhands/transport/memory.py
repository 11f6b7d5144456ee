"""Files in memory that have no name, and ranges of them: made, written, mapped, given back to the system.

Used by ``arena``, which writes, and ``mapped``, which reads.
"""

from __future__ import annotations

import mmap
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: From so many bytes on two threads write.
TOGETHER = 32 << 20


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of some bytes at a place in a file.

    Raises:
        OSError: there is no room.
    """
    if data.nbytes >= TOGETHER:
        both_halves(lambda start, stop: _write(file, data[start:stop], offset + start), data.nbytes)
        return
    _write(file, data, offset)


def _write(file: int, data: memoryview, offset: int) -> None:
    while data.nbytes:
        written = os.pwrite(file, data[: 1 << 30], offset)
        data, offset = data[written:], offset + written


def copy(place: memoryview, data: memoryview) -> None:
    """Copy bytes into mapped memory of the same size."""
    if data.nbytes < TOGETHER:
        place[:] = data
        return
    try:
        there, here = address_of(place), address_of(data)
    except (ImportError, TypeError):
        place[:] = data
        return
    import ctypes

    move = ctypes.CDLL(None).memmove  # without the interpreter's lock
    move.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    both_halves(lambda start, stop: move(there + start, here + start, stop - start), data.nbytes)


def both_halves(action: Callable[[int, int], Any], size: int) -> tuple[Any, Any]:
    """Call ``action`` with the limits of either half of so many bytes, one in another thread; return what both return.

    Raises:
        OSError: one of them has raised it.
    """
    import threading

    half = size // 2
    answers: list[Any] = []
    errors: list[OSError] = []

    def work() -> None:
        try:
            answers.append(action(half, size))
        except OSError as error:
            errors.append(error)

    helper = threading.Thread(target=work, name="manyhands-half", daemon=True)
    helper.start()
    interrupt: BaseException | None = None
    try:
        first = action(0, half)
    finally:
        while helper.is_alive():  # nobody may have the memory before it is done, whatever Ctrl-C says
            try:
                helper.join()
            except BaseException as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    if errors:
        raise errors[0]
    return first, answers[0]


def map_range(file: int, offset: int, size: int) -> mmap.mmap:
    """Map a range of a file, to be written and seen by all."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(file, size, offset=offset, trackfd=False)
    return mmap.mmap(file, size, offset=offset)


def address_of(view: memoryview | mmap.mmap) -> int:
    """Return where in memory something begins that can be written to, or any buffer where NumPy is loaded.

    Raises:
        TypeError: it is read-only, and there is no NumPy.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        return int(numpy.frombuffer(view, dtype="u1").__array_interface__["data"][0])
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def punch(file: int, offset: int, size: int) -> None:
    """Give the memory of a range back to the system, as far as it takes it."""
    try:
        with map_range(file, offset, size) as whole:
            whole.madvise(mmap.MADV_REMOVE)
    except (OSError, ValueError):
        pass


def create() -> int | None:
    """Make a file in memory; None where there is no such thing, or no more."""
    if not hasattr(os, "memfd_create") or not hasattr(mmap, "MADV_REMOVE"):
        return None
    try:
        file = os.memfd_create("manyhands-arena", os.MFD_CLOEXEC)
    except OSError:
        return None
    os.fchmod(file, 0o600)
    return file
