"""Files in memory that have no name, and ranges of them: made, written, mapped, given back to the system.

Used by ``arena``, which writes, and ``mapped``, which reads.
"""

from __future__ import annotations

import mmap
import os
import sys
from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: From so many bytes on two threads write.
TOGETHER = 32 << 20

#: ``_IOWR('f', 16, struct pm_scan_arg)``, and what it knows of pages.
_PAGEMAP_SCAN = 3 << 30 | 96 << 16 | ord("f") << 8 | 16
_FILE, _THERE, _SWAPPED = 1 << 2, 1 << 3, 1 << 4
_scans = sys.platform == "linux"


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


def own_pages(address: int, size: int) -> list[int]:
    """Return which pages of a private mapping this process has copies of its own of, because it has written to them.

    Args:
        address: of the mapping.
        size: of the mapping, bytes.

    Raises:
        OSError: the system does not say.

    Source:
        The kernel's ``Documentation/admin-guide/mm/pagemap.rst``: bit 63, there; 62, swapped; 61, a page of a file.
    """
    pages = -(-size // mmap.PAGESIZE)
    file = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(file, 8 * pages, address // mmap.PAGESIZE * 8)
    finally:
        os.close(file)
    if len(data) < 8 * pages:
        raise OSError("less was said than asked for")
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        entries = numpy.frombuffer(data, "u8")
        return list(numpy.flatnonzero((entries >> 62 != 0) & (entries >> 61 & 1 == 0)).tolist())
    return [
        page for page, entry in enumerate(memoryview(data).cast("Q")) if entry >> 62 and not entry >> 61 & 1
    ]


def has_own_pages(address: int, size: int) -> bool:
    """Tell whether this process has written to a private mapping: then it has copies of pages of its own.

    Arguments and errors as for ``own_pages``, which takes several times as long for the same.

    Source:
        The kernel's ``Documentation/admin-guide/mm/pagemap.rst``, the PAGEMAP_SCAN ioctl (Linux 6.7).
    """
    global _scans
    if _scans:
        from array import array
        from fcntl import ioctl

        found = array("Q", [0, 0, 0])  # one region: there, and not of a file
        where, _ = found.buffer_info()
        ask = bytearray(
            pack(
                "12Q", 96, 0, address, address + size, 0, where, 1, 1, _FILE, _FILE, _THERE | _SWAPPED, _THERE
            )
        )  # changed by the call, or bytes would be returned
        file = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return bool(ioctl(file, _PAGEMAP_SCAN, ask))
        except OSError:  # an older kernel
            _scans = False
        finally:
            os.close(file)
    return bool(own_pages(address, size))


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
