"""Which modules are a program's own and which are libraries. Part of ``captured``; used by ``reads`` and by ``fingerprint``."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class Project:
    """The modules that belong together with one module: its own code, as against the libraries it uses.

    These are the modules of its top-level package. Where that lies in a folder of the user's (not in the standard library,
    not where libraries are installed), the modules and packages beside it belong to it too: so a script's helper modules.

    Args:
        module: the name of the module; "" for one that has none, to which nothing belongs.

    Example:
        >>> import json.decoder
        >>> Project("json").has("json.decoder")  # the standard library is nobody's own
        False
    """

    def __init__(self, module: str) -> None:
        if module == "__main__":  # `python -m package.module` has a name of its own
            spec = getattr(sys.modules.get("__main__"), "__spec__", None)
            module = spec.name if spec is not None else module
        self._top = module.partition(".")[0]
        home = _home(self._top)
        self._nothing = not module or self._top == "manyhands" or (home is not None and home == _library())
        self._home = None if home is None or _is_for_libraries(home) else home
        self._known = {self._top: True, "__main__": True, "manyhands": False}

    def has(self, module: object) -> bool:
        """Return whether the module of that name belongs to the project."""
        if self._nothing or type(module) is not str:
            return False
        top = module.partition(".")[0]
        known = self._known.get(top)
        if known is None:
            known = self._known[top] = self._home is not None and _home(top) == self._home
        return known

    def load(self, module: str) -> ModuleType | None:
        """Return a module of the project, imported if it is not yet; None for any other, and where that fails.

        Args:
            module: its name.
        """
        if module not in sys.modules:
            from importlib import import_module
            from importlib.util import find_spec

            top = module.partition(".")[0]
            try:
                if top not in sys.modules:
                    spec = find_spec(top)
                    file = None if spec is None or spec.origin is None else os.path.abspath(spec.origin)
                    if file is None or self._home is None:
                        return None
                    assert spec is not None
                    package = spec.submodule_search_locations is not None
                    if os.path.dirname(os.path.dirname(file) if package else file) != self._home:
                        return None
                elif not self.has(module):
                    return None
                import_module(module)
            except (Exception, SystemExit):  # what importing it does
                return None
        return sys.modules.get(module) if self.has(module) else None


_homes_of_libraries: dict[str, bool] = {}


def _home(top: str) -> str | None:
    """Return the folder that holds a top-level module or package; None for one that has no place on disk."""
    names = getattr(sys.modules.get(top), "__dict__", {})
    file = names.get("__file__")
    try:
        if type(file) is str:
            file = os.path.abspath(file)
            return os.path.dirname(os.path.dirname(file) if "__path__" in names else file)
        if top == "__main__":  # a notebook, a prompt, `python -c`
            return os.getcwd()
        parts = list(names.get("__path__", ()))  # of a namespace package, which has no file
        return os.path.dirname(os.path.abspath(parts[0])) if parts else None
    except (
        OSError,
        TypeError,
        ValueError,
    ):  # a deleted working folder, a module that dresses up as something else
        return None


def _library() -> str:
    return os.path.dirname(os.path.abspath(os.__file__))


def _is_for_libraries(folder: str) -> bool:
    """Return whether an installer puts libraries there, each beside a record of itself."""
    known = _homes_of_libraries.get(folder)
    if known is None:
        known = os.path.basename(folder) in ("site-packages", "dist-packages")
        if not known:
            try:
                with os.scandir(folder) as entries:
                    known = any(entry.name.endswith(".dist-info") for entry in entries)
            except OSError:  # an archive, a folder that is gone
                known = False
        _homes_of_libraries[folder] = known
    return known
