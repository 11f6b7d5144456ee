"""The caller's side of ``guest``: shows what its workers say where the caller would have shown it, and tells them how it does.

``surroundings`` is what a worker has to know: whether text goes by way of the caller's streams, which warnings are of
interest, which log levels are on and which loggers have handlers. ``pool`` sends it when it has changed. ``show`` runs other
people's code (streams, handlers, filters): it is called where the results of a call are taken in, by the caller's own
thread, in the place of the task that would have run there; for single tasks by the loop thread, without its guard.
"""

from __future__ import annotations

import os
import sys
from _operator import is_
from io import TextIOWrapper
from time import monotonic

from manyhands.engine.guest import ERR, OUT, RECORD
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.engine.streams import Said

    Place = tuple[int, int] | None

#: What is told is looked at closely at the beginning of a call, and else after so many seconds.
STALE = 0.05
#: An entry of the root logger's cache: it is gone when a level has been set anywhere.
_MARK = -1


class Surroundings:
    """What workers have been told last, as bytes: the same object as long as nothing changes."""

    def __init__(self) -> None:
        self.blob = b""
        self._key: tuple[Any, ...] | None = None
        self._glance: tuple[Any, ...] = ()
        self._looked = 0.0
        self._logs = b""
        self._filters: list[Any] = []
        self._filters_blob = b""

    def now(self, home: tuple[Place, Place]) -> bytes:
        """Return what there is to know now.

        Args:
            home: what descriptors 1 and 2 are to the workers, as ``places`` has said when they were started.
        """
        logging = sys.modules.get("logging")
        root = getattr(logging, "root", None)
        filters = _filters()
        glance = (sys.stdout, sys.stderr, root, home, len(getattr(root, "handlers", ())))
        same = all(map(is_, glance, self._glance)) and filters == self._filters
        if same and monotonic() - self._looked < STALE and (root is None or _MARK in root._cache):
            return self.blob
        self._glance, self._looked = glance, monotonic()
        if filters != self._filters:
            self._filters = list(filters)
            self._filters_blob = _pack_filters(filters)
        key = (elsewhere(home), self._filters_blob, _loggers(root))
        if key != self._key:
            self._key, self.blob = key, dumps(key)
        return self.blob

    def look_closely(self) -> None:
        """Somebody begins: notice what is not noticed at a glance."""
        self._looked = 0.0


def _filters() -> list[Any]:
    warnings = sys.modules.get("warnings")
    if warnings is None:
        return []
    get = getattr(warnings, "_get_filters", None)  # 3.14: they may be a context's
    return get() if get is not None else warnings.filters  # type: ignore[no-any-return]


def _pack_filters(filters: list[Any]) -> bytes:
    """The filters, with the names of categories: a worker is not to load what only the caller has loaded."""
    return dumps(
        [
            (action, message, (category.__module__, category.__qualname__), module, line)
            for action, message, category, module, line in filters
        ]
    )


def _loggers(root: Any) -> bytes:
    """Levels, names of those that have handlers, and the level up to which all is disabled."""
    manager = getattr(root, "manager", None)
    if manager is None:  # not loaded, or just being loaded
        return b""
    root._cache[_MARK] = True
    loggers = {
        name: logger for name, logger in list(manager.loggerDict.items()) if hasattr(logger, "handlers")
    }
    loggers["root"] = root
    levels = {name: logger.level for name, logger in loggers.items() if logger.level}
    handled = sorted(name for name, logger in loggers.items() if logger.handlers)
    return dumps((levels, handled, manager.disable))


def places() -> tuple[Place, Place]:
    """Return what descriptors 1 and 2 are."""
    return _place(1), _place(2)


def _place(descriptor: int) -> Place:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def elsewhere(home: tuple[Place, Place]) -> bool:
    """Whether what a task prints cannot go straight to the descriptors that workers have.

    Args:
        home: what these are.
    """
    for stream, descriptor, place in ((sys.stdout, 1, home[0]), (sys.stderr, 2, home[1])):
        if type(stream) is not TextIOWrapper:  # of the exact type: it is asked with a lock held
            return True
        try:
            if stream.fileno() != descriptor or place is None or _place(descriptor) != place:
                return True
        except (ValueError, OSError):  # closed, detached
            return True
    return False


surroundings = Surroundings()


def show(said: Said) -> None:
    """Do with what a worker has said what a task that runs here would have done; nothing that goes wrong gets out."""
    try:
        if said.what in (OUT, ERR):
            stream: Any = sys.stdout if said.what == OUT else sys.stderr
            if stream is not None:
                stream.write(_text(said.body))
        elif said.what == RECORD:
            _handle(said.body)
        else:
            _warn(said.body)
    except Exception:  # a closed stream, say, or a filter that has become "error": it is no fault of a task's
        pass


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # written to sys.stdout.buffer, and no text
        return body.decode("utf-8", "replace")


def _handle(body: bytes) -> None:
    import logging

    content, extras = loads(body)
    for key, value in extras.items():
        try:
            content[key] = loads(value)
        except Exception:
            content[key] = f"<a {key} that cannot be unpickled>"
    record = logging.makeLogRecord(content)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


#: Which places have been shown, for modules that are not loaded here.
_registries: dict[str, dict[Any, Any]] = {}


def _warn(body: bytes) -> None:
    import warnings

    packed, text, name, filename, line, module = loads(body)
    try:
        message = loads(packed)
    except Exception:
        message = None
    if not isinstance(message, Warning):
        message = UserWarning(f"{name}: {text}")
    # The module's own register: a place is shown once, whether a task ran here or there.
    loaded = getattr(sys.modules.get(module or ""), "__dict__", None)
    registry = (
        _registries.setdefault(filename, {})
        if loaded is None
        else loaded.setdefault("__warningregistry__", {})
    )
    warnings.warn_explicit(message, type(message), filename, line, module, registry)
