"""Files in memory that have no name, and ranges of them: made, written, mapped, given back to the system.

Used by ``arena``, which writes, and ``mapped``, which reads.
"""

from __future__ import annotations

import mmap
import os
import sys

#: From so many bytes on two threads write: fresh memory comes slowly.
TOGETHER = 32 << 20


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of some bytes at a place in a file.

    Raises:
        OSError: there is no room.
    """
    if data.nbytes >= TOGETHER:
        _write_together(file, data, offset)
        return
    _write(file, data, offset)


def _write(file: int, data: memoryview, offset: int) -> None:
    while data.nbytes:
        written = os.pwrite(file, data[: 1 << 30], offset)
        data, offset = data[written:], offset + written


def _write_together(file: int, data: memoryview, offset: int) -> None:
    """Write a half of it in another thread."""
    import threading

    half, errors = data.nbytes // 2, []

    def write() -> None:
        try:
            _write(file, data[half:], offset + half)
        except OSError as error:
            errors.append(error)

    helper = threading.Thread(target=write, daemon=True)
    helper.start()
    try:
        _write(file, data[:half], offset)
    finally:
        helper.join()
    if errors:
        raise errors[0]


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
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        data = os.pread(file.fileno(), 8 * pages, address // mmap.PAGESIZE * 8)
    if len(data) < 8 * pages:
        raise OSError("less was said than asked for")
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        entries = numpy.frombuffer(data, "u8")
        return list(numpy.flatnonzero((entries >> 62 != 0) & (entries >> 61 & 1 == 0)).tolist())
    return [
        page for page, entry in enumerate(memoryview(data).cast("Q")) if entry >> 62 and not entry >> 61 & 1
    ]


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
