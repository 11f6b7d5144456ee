"""The decorators: typed overloads, a check of what is decorated, and nothing else."""

from __future__ import annotations

from manyhands.functions import ParallelFunction
from manyhands.options import validated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar, overload

    P = ParamSpec("P")
    R = TypeVar("R")

if TYPE_CHECKING:
    # @parallel_map, without parentheses, or parallel_map(function, option=...)
    @overload
    def parallel_map(function: Callable[P, R], /, **options: Any) -> ParallelFunction[P, R]: ...
    # @parallel_map(option=...)
    @overload
    def parallel_map(
        function: None = None, /, **options: Any
    ) -> Callable[[Callable[P, R]], ParallelFunction[P, R]]: ...


def parallel_map(function: Any = None, /, **options: Any) -> Any:
    """Give a function ``map``, ``starmap``, ``imap``, ``imap_unordered``, ``submit`` and ``amap`` that use every core.

    The function itself stays what it was: calling it runs it here.

    Args:
        function: the function, method, lambda, partial or callable object.
        **options: as in ``Options``.

    Returns:
        A ``ParallelFunction``; without ``function``, a decorator that makes one.

    Raises:
        TypeError: what is decorated cannot be called, or is a coroutine function.
        OptionsError: an option is unknown or its value is out of range.

    Example:
        >>> from manyhands import parallel_map
        >>> @parallel_map
        ... def square(x: int) -> int:
        ...     return x * x
        >>> square.map(range(4))
        [0, 1, 4, 9]
        >>> parallel_map(lambda x: x + 1, max_workers=2).map([1, 2])
        [2, 3]
    """
    changes = validated(options)

    def decorate(function: Any) -> Any:
        _check(function)
        if isinstance(function, ParallelFunction):
            return function.options(**changes)
        from manyhands.captured import warn_lost_updates

        warn_lost_updates(function, stacklevel=3)
        return ParallelFunction(function, changes)

    return decorate if function is None else decorate(function)


def _check(function: Any) -> None:
    """Refuse what cannot be mapped."""
    if isinstance(function, (type, staticmethod, classmethod)):
        return
    if not callable(function):
        raise TypeError(
            f"parallel_map needs a function, not {function!r:.60} (a {type(function).__name__}); options are given by name: "
            "@parallel_map(max_workers=2)"
        )
    code = getattr(function, "__code__", None)
    flags = getattr(code, "co_flags", 0)
    if flags & _COROUTINE:
        raise TypeError(
            f"{function.__qualname__} is a coroutine function; parallel_map spreads ordinary functions over processes: "
            "use asyncio.gather for coroutines, or decorate the function that does the computing and await its amap()"
        )
    if flags & _GENERATOR:
        raise TypeError(
            f"{function.__qualname__} is a generator function, and generators cannot leave their process; return a list"
        )


_COROUTINE, _GENERATOR = (
    0x80 | 0x200,
    0x20,
)  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR, CO_GENERATOR; inspect is slow to load
