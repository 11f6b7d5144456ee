"""Memory limits of workers, and what the kernel says of processes that it has killed for want of memory.

Used by ``worker`` (which sets the limit and explains the ``MemoryError``) and by ``staff`` (which counts the killed).
"""

from __future__ import annotations

import os
import sys


def limit(size: int) -> None:
    """Let this process allocate so many bytes and no more: allocations beyond fail with ``MemoryError``.

    The limit counts private writable memory (``RLIMIT_DATA``; on Linux since 4.7 that includes mappings): what a program
    has really asked for, without the libraries it maps and the shared memory it attaches.

    Args:
        size: bytes.

    Source:
        ``setrlimit(2)``.
    """
    import resource

    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        size += _reserved()  # its allocator takes a gigabyte in advance
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))


def _reserved() -> int:
    """What this process held the first time somebody asked."""
    if not _held:
        _held.append(_data_size())
    return _held[0]


_held: list[int] = []


def explain(error: MemoryError, size: int) -> None:
    """Say in a ``MemoryError`` which limit was reached, and how much the process has.

    Args:
        error: the exception; one that says something already gets a note.
        size: the limit, bytes.
    """
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))  # saying so takes memory, too
    try:
        import traceback

        used = _data_size()
        traceback.clear_frames(error.__traceback__)  # what they hold is what has filled the memory
        text = (
            f"the worker has reached its memory_limit of {megabytes(size)}"
            f"{f' (it holds {megabytes(used)})' if used else ''}, process {os.getpid()}"
        )
        if error.args:
            error.add_note(f"manyhands: {text}")
        else:
            error.args = (text,)
    finally:
        limit(size)


def megabytes(size: int) -> str:
    """Return an amount of memory in words.

    Example:
        >>> megabytes(3 << 20)
        '3.1 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def _data_size() -> int:
    """What this process holds of what is limited, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmData:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def available() -> int:
    """Return the memory that this process may use, as far as the system says so: bytes.

    Source:
        ``memory.max`` and ``memory.limit_in_bytes`` of control groups (kernel documentation, ``cgroup-v2.rst``).
    """
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        size = 4 << 30
    for path in _group_files():
        name = "memory.max" if path.endswith(".events") else "memory.limit_in_bytes"
        try:
            with open(os.path.join(os.path.dirname(path), name), "rb") as file:
                size = min(size, int(file.read()))
        except (OSError, ValueError):  # it has none
            continue
    return size


def starved() -> int | None:
    """Return how many processes the kernel has killed for want of memory, in this process's control group or at all.

    Returns:
        The counter, which only grows; None where there is none.

    Source:
        ``memory.events`` of control groups, version 2 (kernel documentation, ``cgroup-v2.rst``); ``/proc/vmstat``.
    """
    if sys.platform != "linux":
        return None
    for path in (*_group_files(), "/proc/vmstat"):
        try:
            with open(path, "rb") as file:
                for line in file:
                    if line.startswith(b"oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return None


def _group_files() -> list[str]:
    try:
        with open("/proc/self/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for number, controllers, path in lines:
        if number == "0":
            found.append(f"/sys/fs/cgroup{path}/memory.events")
        elif "memory" in controllers.split(","):
            found.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    return found
