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
