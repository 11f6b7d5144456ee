"""Arrays that are files mapped into memory travel as their files: what arrives is mapped again, and nothing is copied.

``numpy.memmap`` is pickled with all that is in it, and what arrives has lost its file. Between the caller and its workers the
file is enough, as long as it is the same one: the system says which file lies at the address of an array
(``/proc/self/maps``), and at which place of it. If there is no such file any more, or another one under its name, or the pages
are this process's own (mode ``"c"``), or the system does not say, the content travels, as it would without this module. The
other side looks again at what it has opened, and refuses another file than that which was sent.

Used by ``serialize`` where NumPy is loaded, for what is on its way to another process, and not for what is kept; it has its
place in the table that ``copyreg`` keeps, and changes nothing for other picklers.
"""

from __future__ import annotations

import copyreg
import os
import sys
from _thread import _local
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Region(NamedTuple):
    """A file, and where it lies in the memory of this process.

    Args:
        start: the first address.
        end: the address after the last.
        offset: of the first address in the file, bytes.
        device: the file's device, as far as the system's list of mappings knows it.
        inode: the file's number.
        path: its name.
    """

    start: int
    end: int
    offset: int
    device: int
    inode: int
    path: str


class _Active(_local):
    """Of each thread: whether it pickles for another process, and whether all arrays are looked at."""

    on = False
    views = False


class Mapped(BaseException):
    """An array without a file of its own is a view of one that has one: pickle it by another way."""


active = _Active()
_regions: WeakKeyDictionary[Any, Region] = WeakKeyDictionary()
#: What was mapped for what has come, by device, number and whether it is written to.
_whole: WeakValueDictionary[tuple[int, int, bool], Any] = WeakValueDictionary()
_registered = False


def register() -> bool:
    """Have memmaps pickled here, if NumPy has been loaded; tell whether it has."""
    global _registered
    if not _registered:
        memmap = getattr(sys.modules.get("numpy"), "memmap", None)
        if memmap is None:
            return False
        if memmap not in copyreg.dispatch_table:
            copyreg.pickle(memmap, _reduce)
        _registered = True
    return True


def is_view(exporter: Any) -> bool:
    """Tell whether an array is a view of a memmap, and its memory that of a file that can travel by its name."""
    numpy: Any = sys.modules["numpy"]
    return (
        isinstance(exporter, numpy.ndarray)
        and exporter.base is not None
        and _memmap_under(exporter) is not None
        and _place(exporter) is not None
    )


def reduced(array: Any) -> Any:
    """Return how an array of NumPy's own kind is made again over its file; None: it has none."""
    place = _place(array) if array.base is not None and _memmap_under(array) is not None else None
    return None if place is None else (mapped, place)


def _reduce(array: Any) -> Any:
    place = _place(array) if active.on else None
    return sys.modules["numpy"].ndarray.__reduce__(array) if place is None else (mapped, place)


def _memmap_under(array: Any) -> Any:
    """The memmap that an array is a view of, or is."""
    numpy: Any = sys.modules["numpy"]
    while isinstance(array, numpy.ndarray):
        if type(array) is numpy.memmap:
            return array
        array = array.base
    return None


def _place(array: Any) -> tuple[Any, ...] | None:
    """Where an array lies in its file, as ``mapped`` wants to know it; None: that is not to be had."""
    owner = _memmap_under(array)
    memory = getattr(owner, "_mmap", None)
    if memory is None or array.size == 0 or array.dtype.hasobject or array.itemsize == 0:
        return None
    first = low = array.__array_interface__["data"][0]
    high = low + array.itemsize
    for length, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (length - 1) * stride
        else:
            high += (length - 1) * stride
    for fresh in (False, True):
        region = None if fresh else _regions.get(memory)
        if region is None:
            region = _region(low, high)
        if region is None:
            return None
        if not region.start <= low < high <= region.end:  # of a mapping that was moved or divided
            continue
        offset = region.offset + low - region.start
        found = _same_file(region, offset + high - low, writes=owner.mode != "r")
        if found is not None:
            _regions[memory] = region
            kind = "memmap" if type(array) is type(owner) else "array"
            return (
                region.path, found.st_dev, found.st_ino, offset, high - low, owner.mode != "r", first - low, array.shape,
                array.dtype, array.strides, array.flags.writeable, kind, owner.filename, owner.offset, owner.mode,
            )  # fmt: skip
    return None


def _region(low: int, high: int) -> Region | None:
    """The file that is shared with others at some addresses."""
    try:
        with open("/proc/self/maps", "rb") as file:
            for line in file:
                addresses, modes, offset, device, inode, *name = line.split(None, 5)
                start, end = (int(part, 16) for part in addresses.split(b"-"))
                if start <= low < end:
                    if high > end or modes[3:4] != b"s" or not name:
                        return None
                    path = os.fsdecode(name[0].rstrip(b"\n").replace(b"\\012", b"\n"))
                    major, minor = (int(part, 16) for part in device.split(b":"))
                    return Region(start, end, int(offset, 16), os.makedev(major, minor), int(inode), path)
    except (OSError, ValueError):  # another system
        pass
    return None


def _same_file(region: Region, size: int, *, writes: bool) -> os.stat_result | None:
    """Say what there is under a file's name, if it is that file still, and may be opened: a mapping outlives the right to."""
    try:
        found = os.stat(region.path)
        if not os.access(region.path, os.R_OK | (os.W_OK if writes else 0), effective_ids=True):
            return None
    except OSError:
        return None
    if found.st_ino != region.inode or found.st_size < size:
        return None
    # Some file systems have a device for each subvolume, which the list of mappings does not know.
    return found if found.st_dev == region.device or _is_open(found) else None


def _is_open(found: os.stat_result) -> bool:
    """Tell whether this process has a file open: a mapping keeps its own. Numbers of files count for one device only."""
    for name in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (found.st_dev, found.st_ino):
            return True
    return False


def mapped(
    path: str, device: int, inode: int, offset: int, size: int, writes: bool, first: int, shape: tuple[int, ...],
    dtype: Any, strides: tuple[int, ...], writeable: bool, kind: str, filename: Any, start: int, mode: str,
) -> Any:  # fmt: skip
    """Map a part of a file again, and return it as the array that it was.

    Args:
        path: the file.
        device: its device.
        inode: its number there.
        offset: where the part begins, bytes.
        size: of the part, bytes.
        writes: what is written to the array is written to the file.
        first: where in the part the array's first item is, bytes.
        shape: of the array.
        dtype: of its items.
        strides: of the array, bytes.
        writeable: the array may be written to.
        kind: "memmap" or "array".
        filename: attribute of the memmap, as the next two.
        start: ``offset`` of the memmap.
        mode: of the memmap.

    Raises:
        FileNotFoundError: there is another file under that name by now, or none.
    """
    import numpy as np

    file = os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != (device, inode) or found.st_size < offset + size:
            raise FileNotFoundError(
                f"the file that an array is mapped from was replaced while the array was on its way: {path}. Keep it until "
                "the tasks are done, or give them a copy of what is in it: numpy.array(array)"
            )
        memory, begin = _map(file, found, offset, size, writes=writes)
    finally:
        os.close(file)
    array: Any = np.ndarray.__new__(np.memmap, shape, dtype, memory, offset - begin + first, strides)
    array._mmap, array.filename, array.offset = memory, filename, start
    array.mode = "r+" if mode == "w+" else mode
    if not writeable:
        array.flags.writeable = False
    return array if kind == "memmap" else array.view(np.ndarray)


def _map(file: int, found: os.stat_result, offset: int, size: int, *, writes: bool) -> tuple[Any, int]:
    """Map a file, and say where in the file the mapping begins.

    All of it, for all arrays that are parts of it: a mapping keeps a descriptor, and costs no memory. Where it counts
    against a limit, the part.
    """
    import mmap

    key = found.st_dev, found.st_ino, writes
    memory = _whole.get(key)
    if memory is not None and len(memory) >= offset + size:
        return memory, 0
    access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
    try:
        memory = _whole[key] = mmap.mmap(file, found.st_size, access=access)
        return memory, 0
    except (OSError, OverflowError):
        begin = offset - offset % mmap.ALLOCATIONGRANULARITY
        return mmap.mmap(file, offset + size - begin, access=access, offset=begin), begin
