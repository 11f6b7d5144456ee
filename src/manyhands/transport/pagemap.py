"""What the kernel says of pages of this process's memory: which are its own copies, and where a run of pages of some kind is.

Used by ``windows`` and ``engine.watching``, which ask what was written to private mappings, and by ``writes``.

Source: the kernel's ``Documentation/admin-guide/mm/pagemap.rst``; the PAGEMAP_SCAN ioctl came with Linux 6.7.
"""

from __future__ import annotations

import mmap
import os
import sys
from _struct import pack
from errno import EMFILE, ENFILE

#: What PAGEMAP_SCAN tells of a page (include/uapi/linux/fs.h): noted writes are looked for; written to; of a file, or shared;
#: there; swapped out.
WATCHED, WRITTEN, FILE, THERE, SWAPPED = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4

#: ``_IOWR('f', 16, struct pm_scan_arg)``, and the size of that.
_SCAN, _SIZE = 0xC0606610, 96

_scans = sys.platform == "linux"


def first_run(
    address: int, size: int, *, all_of: int = 0, none_of: int = 0, any_of: int = 0, most: int = 0
) -> tuple[int, int] | None:
    """Return where the first run of pages of some kind begins and ends; None: there is no such page.

    Args:
        address: of the first page to look at.
        size: bytes to look at.
        all_of: what is to be so of each page.
        none_of: what is not to be so of any.
        any_of: of this, at least one is to be so; 0: nothing is asked.
        most: so many pages are enough; 0: as many as there are.

    Raises:
        OSError: the system does not say.
    """
    from array import array
    from fcntl import ioctl

    region = array("Q", [0, 0, 0])
    where, _ = region.buffer_info()
    ask = pack(
        "12Q", _SIZE, 0, address, address + size, 0, where, 1, most, none_of, all_of | none_of, any_of, all_of or any_of
    )  # fmt: skip
    file = _open()
    try:
        found = ioctl(file, _SCAN, bytearray(ask))  # which is changed by the call; bytes would be copied
    finally:
        os.close(file)
    return (region[0], region[1]) if found else None


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
    file = _open()
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
    """
    global _scans
    if _scans:
        try:
            return first_run(address, size, none_of=FILE, any_of=THERE | SWAPPED, most=1) is not None
        except (
            OSError
        ) as error:  # an older kernel does not know it; without a descriptor nothing can be asked just now
            _scans = error.errno in (EMFILE, ENFILE)
    return bool(own_pages(address, size))


def _open() -> int:
    return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
