"""The options of a decorated function: what they are called, what they may be, and which of them win.

Defaults < ``configure()`` < the decorator < ``.options()``. An ``Options`` never changes; everything is validated here, in
one place, before any work starts. Used by ``functions`` and passed down as plain values.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

BACKENDS = ("processes", "threads", "serial")
START_METHODS = ("template", "forkserver", "spawn", "fork")


class Options(NamedTuple):
    """How the calls of one function run; made by the decorator and by ``.options()``.

    Args:
        max_workers: how many workers at most; None: one for each core this process may use.
        chunksize: how many tasks travel together; None: found out by measuring.
        buffersize: how many results ``imap`` may be ahead of its consumer; None: bounded by time and bytes.
        backend: "processes", "threads" or "serial".
        start_method: "template" (a clean process that forks; also called "forkserver"), "spawn" or "fork"; None: "template"
            where there is a fork, "spawn" elsewhere.
        initializer: called once in every worker before its first task.
        initargs: the arguments of ``initializer``.
        max_tasks_per_child: a worker is replaced after that many tasks; None: never.

    Example:
        >>> from manyhands import parallel_map
        >>> parallel_map(abs, max_workers=2).options(chunksize=10).settings.chunksize
        10
    """

    max_workers: int | None = None
    chunksize: int | None = None
    buffersize: int | None = None
    backend: str = "processes"
    start_method: str | None = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    max_tasks_per_child: int | None = None

    @property
    def isolated(self) -> bool:
        """Whether tasks rely on something that the caller's process has not got, so that none may run there.

        Example:
            >>> Options(max_tasks_per_child=1).isolated
            True
        """
        return self.initializer is not None or self.max_tasks_per_child is not None

    def changed(self, changes: dict[str, Any]) -> Options:
        """Return a copy with other values, each of them validated.

        Args:
            changes: option names and values; ``mp_context`` is taken for the start method it names.

        Raises:
            OptionsError: an option is unknown or its value is out of range.
            TypeError: a value is of the wrong type.

        Example:
            >>> Options().changed({"max_workers": 3}).max_workers
            3
        """
        changes = dict(changes)
        if "mp_context" in changes:
            context = changes.pop("mp_context")
            if context is not None:
                changes["start_method"] = context if isinstance(context, str) else context.get_start_method()
        for name, value in changes.items():
            if name not in _CHECKS:
                raise _unknown(name)
            _CHECKS[name](name, value)
        return self._replace(**changes)


def configure(**changes: Any) -> Options:
    """Change the defaults of every decorated function of this process that does not say otherwise.

    Args:
        **changes: options as in ``Options``.

    Returns:
        The defaults as they now are.

    Raises:
        OptionsError: an option is unknown or its value is out of range.
        TypeError: a value is of the wrong type.

    Example:
        >>> import manyhands
        >>> manyhands.configure(max_workers=2).max_workers
        2
        >>> manyhands.configure(max_workers=None).max_workers is None
        True
    """
    global _defaults
    _defaults = _defaults.changed(changes)
    return _defaults


def defaults() -> Options:
    """Return what ``configure()`` has made of the defaults.

    Example:
        >>> defaults().backend
        'processes'
    """
    return _defaults


_defaults = Options()


def check_workers(name: str, value: Any) -> None:
    """Refuse what cannot be a number of workers.

    Raises:
        TypeError: not an integer.
        OptionsError: less than one.

    Example:
        >>> check_workers("max_workers", 2)
    """
    _count("; leave it out to use every core")(name, value)


def _count(advice: str = "") -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be a whole number, not {value!r} (a {type(value).__name__}){advice}")
        if value < 1:
            from manyhands.exceptions import OptionsError

            raise OptionsError(f"{name} must be at least 1, not {value}{advice}")

    return check


def _one_of(*allowed: str | None) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value in allowed:
            return
        from manyhands.exceptions import OptionsError

        words = ", ".join(repr(word) for word in allowed if word is not None)
        raise OptionsError(f"{name} must be one of {words}, not {value!r}{_nearest(str(value), allowed)}")

    return check


def _callable(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r} (a {type(value).__name__})")


def _arguments(name: str, value: Any) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple of arguments, not {value!r} (a {type(value).__name__})")


def _unknown(name: str) -> Exception:
    from manyhands.exceptions import OptionsError

    return OptionsError(f"there is no option {name!r}{_nearest(name, _CHECKS)}; the options are {', '.join(_CHECKS)}")


def _nearest(name: str, names: Any) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [word for word in names if word], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "max_workers": check_workers,
    "chunksize": _count("; leave it out to have it measured"),
    "buffersize": _count(),
    "backend": _one_of(*BACKENDS),
    "start_method": _one_of(None, *START_METHODS),
    "initializer": _callable,
    "initargs": _arguments,
    "max_tasks_per_child": _count(),
}
