"""How many cores this process may use: affinity and container quotas, not what the machine has."""

from __future__ import annotations

import os

#: The quota does not change under a running program often enough to read files at every call. 0: there is none.
_known_quota: float | None = None


def cpu_count() -> int:
    """Return the number of cores this process may use, at least one.

    The smallest of what the scheduler allows (``os.process_cpu_count``, affinity) and what the control group's quota
    amounts to, rounded up: a container limited to 1.5 cores gets two workers.

    Returns:
        The number of cores, at least 1.

    Source:
        The kernel's documentation of control groups, ``cpu.max`` (version 2) and ``cpu.cfs_quota_us`` (version 1).

    Example:
        >>> from manyhands import cpu_count
        >>> cpu_count() >= 1
        True
    """
    if hasattr(os, "process_cpu_count"):  # 3.13; honours -X cpu_count and PYTHON_CPU_COUNT
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    global _known_quota
    if _known_quota is None:
        _known_quota = _quota() or 0.0
    quota = _known_quota
    return max(1, min(count, -int(-quota // 1))) if quota else max(1, count)


def _quota() -> float | None:
    """The cores that the control groups above this process allow together, or None without a limit."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        return None
    limits = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            limits += [_version_2(folder) for folder in _upwards("/sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            limits += [_version_1(folder) for folder in _upwards(f"/sys/fs/cgroup/{controllers}", path)]
    return min((limit for limit in limits if limit), default=None)


def _upwards(root: str, path: str) -> list[str]:
    """The folders from ``root/path`` up to ``root``: a parent's quota binds its children."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join([root, *parts[:length]]) for length in range(len(parts), -1, -1)]


def _version_2(folder: str) -> float | None:
    words = _words(f"{folder}/cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _version_1(folder: str) -> float | None:
    quota, period = _words(f"{folder}/cpu.cfs_quota_us"), _words(f"{folder}/cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []
