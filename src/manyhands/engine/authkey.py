"""The key by which ``multiprocessing`` knows its own processes, so that proxies of its managers work in workers.

The standard library's pools hand it on to the processes they start. Ours have an interpreter of their own, and load
``multiprocessing`` only if a task does: the key is put in its place the moment that happens.

Source: "Authentication keys" in the documentation of ``multiprocessing``.
"""

from __future__ import annotations

import sys

MODULE = "multiprocessing.process"


def authkey() -> bytes | None:
    """Return this process's key; None while ``multiprocessing`` is not loaded."""
    module = sys.modules.get(MODULE)
    try:
        return None if module is None else module.current_process()._config["authkey"]
    except (AttributeError, KeyError):  # it is being loaded this moment
        return None


def adopt(key: bytes) -> None:
    """In a worker: make this the process's key, now or when ``multiprocessing`` is loaded.

    Args:
        key: that of the caller's process.
    """
    from manyhands.engine.arrivals import when_loaded

    def put() -> None:
        sys.modules[MODULE].current_process().authkey = key

    when_loaded(MODULE, put)
