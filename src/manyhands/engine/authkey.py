"""The key by which ``multiprocessing`` knows its own processes, so that proxies of its managers work in workers.

The standard library's pools hand it on to the processes they start. Ours have an interpreter of their own, and load
``multiprocessing`` only if a task does: the key is put in its place the moment that happens.

Source: "Authentication keys" in the documentation of ``multiprocessing``; PEP 451 for the finder.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Finder)]:
        sys.meta_path.remove(finder)
    module = sys.modules.get(MODULE)
    if module is None:
        sys.meta_path.insert(0, _Finder(key))
    else:
        module.current_process().authkey = key


class _Finder:
    """Finds the one module, and has it changed when it has been loaded."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.key)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module as another loader does, and puts the key into it."""

    def __init__(self, loader: Any, key: bytes) -> None:
        self.loader = loader
        self.key = key

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self.loader.exec_module(module)
        module.current_process().authkey = self.key
