"""The options of a decorated function: what they are called, what they may be, and which of them win.

Defaults < ``configure()`` < the decorator < ``.options()``. An ``Options`` never changes; everything is validated here, in
one place, before any work starts. Used by ``functions`` and passed down as plain values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BACKENDS = ("processes", "threads", "serial")
START_METHODS = ("template", "forkserver", "spawn", "fork")


_DEFAULTS: dict[str, Any] = {"backend": "processes", "initargs": ()}


class Options:
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

    __slots__ = _NAMES = (
        "max_workers", "chunksize", "buffersize", "backend", "start_method", "initializer", "initargs", "max_tasks_per_child",
    )  # fmt: skip

    max_workers: int | None
    chunksize: int | None
    buffersize: int | None
    backend: str
    start_method: str | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None

    def __init__(self, **values: Any) -> None:
        for name in self._NAMES:
            object.__setattr__(self, name, values.get(name, _DEFAULTS.get(name)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            "options never change; make others with .options(), or the defaults with configure()"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().values()))

    def __reduce__(self) -> Any:
        return _options, (self.as_dict(),)

    def __repr__(self) -> str:
        given = {name: value for name, value in self.as_dict().items() if value != _DEFAULTS.get(name)}
        return f"Options({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def as_dict(self) -> dict[str, Any]:
        """Return names and values.

        Example:
            >>> Options(chunksize=3).as_dict()["chunksize"]
            3
        """
        return {name: getattr(self, name) for name in self._NAMES}

    @property
    def isolated(self) -> bool:
        """Whether tasks rely on something that the caller's process has not got, so that none may run there.

        Example:
            >>> Options(max_tasks_per_child=1).isolated
            True
        """
        return self.initializer is not None or self.max_tasks_per_child is not None

    def changed(self, changes: dict[str, Any]) -> Options:
        """Return a copy with other values, as ``validated`` gives them.

        Args:
            changes: option names and values.

        Example:
            >>> Options().changed({"max_workers": 3}).max_workers
            3
        """
        return Options(**{**self.as_dict(), **changes})


def validated(changes: dict[str, Any]) -> dict[str, Any]:
    """Check option names and values.

    Args:
        changes: option names and values; ``mp_context`` is taken for the start method it names.

    Returns:
        The same, with ``start_method`` in place of ``mp_context``.

    Raises:
        OptionsError: an option is unknown or its value is out of range.
        TypeError: a value is of the wrong type.

    Example:
        >>> validated({"max_workers": 3, "mp_context": "spawn"})
        {'max_workers': 3, 'start_method': 'spawn'}
    """
    changes = dict(changes)
    if "mp_context" in changes:
        context = changes.pop("mp_context")
        if context is not None and not isinstance(context, str):
            if not hasattr(context, "get_start_method"):
                raise TypeError(
                    f"mp_context must be a multiprocessing context or the name of a start method, not {context!r:.60} "
                    f"(a {type(context).__name__})"
                )
            context = context.get_start_method()
        if context is not None:
            changes["start_method"] = context
    for name, value in changes.items():
        if name not in _CHECKS:
            raise _unknown(name)
        _CHECKS[name](name, value)
    return changes


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
    _defaults = _defaults.changed(validated(changes))
    return _defaults


def defaults() -> Options:
    """Return what ``configure()`` has made of the defaults.

    Example:
        >>> defaults().backend
        'processes'
    """
    return _defaults


def _options(values: dict[str, Any]) -> Options:
    return Options(**values)


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
            raise TypeError(
                f"{name} must be a whole number, not {value!r} (a {type(value).__name__}){advice}"
            )
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

    return OptionsError(
        f"there is no option {name!r}{_nearest(name, _CHECKS)}; the options are {', '.join(_CHECKS)}"
    )


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
