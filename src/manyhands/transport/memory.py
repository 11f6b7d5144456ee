"""Files in memory that have no name, and ranges of them: made, written, mapped, given back to the system.

Used by ``arena``, which writes, and ``mapped``, which reads.
"""

from __future__ import annotations

import mmap
import os
import sys


def write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of some bytes at a place in a file.

    Raises:
        OSError: there is no room.
    """
    while data.nbytes:
        written = os.pwrite(file, data[: 1 << 30], offset)
        data, offset = data[written:], offset + written


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
