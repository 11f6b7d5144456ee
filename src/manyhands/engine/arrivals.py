"""Doing something when a module is loaded, without loading it: ``logging`` in a worker, NumPy's random numbers under a seed.

A worker loads next to nothing before a task needs it, and what a task needs it may import in its first line: what is to
happen to a module has to happen in that moment. Used by ``authkey``, ``guest`` and ``seeding``.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class Arrivals:
    """A finder that finds nothing itself: it has an action done when one of its modules has been loaded."""

    def __init__(self) -> None:
        self.actions: dict[str, Callable[[], object]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.actions:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                self._wrap(spec, name)
                return spec
        return None

    def _wrap(self, spec: ModuleSpec, name: str) -> None:
        """Have the module's loader do the action after it has run the module."""
        loader: Any = spec.loader
        run = getattr(loader, "exec_module", None)
        if run is None:
            return

        def run_and_act(module: ModuleType) -> None:
            run(module)
            try:
                del loader.exec_module  # the instance's: the loader is shared in frozen and built-in cases
            except AttributeError:
                pass
            action = self.actions.pop(name, None)
            if action is not None:
                action()

        try:
            loader.exec_module = run_and_act
        except (AttributeError, TypeError):  # a loader that takes no attributes
            pass


_arrivals = Arrivals()


def when_loaded(name: str, action: Callable[[], object]) -> None:
    """Call ``action`` once the module of that name is there: now, or right after it has been loaded.

    Args:
        name: the module.
        action: called once; a later one for the same module takes its place.

    Example:
        >>> when_loaded("sys", lambda: print("here"))
        here
    """
    if name in sys.modules:
        action()
        return
    _arrivals.actions[name] = action
    if _arrivals not in sys.meta_path:
        sys.meta_path.insert(0, _arrivals)


def forget(name: str) -> None:
    """Do nothing any more when that module is loaded."""
    _arrivals.actions.pop(name, None)
    if not _arrivals.actions and _arrivals in sys.meta_path:
        sys.meta_path.remove(_arrivals)
