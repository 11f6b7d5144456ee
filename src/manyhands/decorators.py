"""The decorators: typed overloads, a check of what is decorated, and nothing else."""

from __future__ import annotations

from manyhands.decorated import Decorated
from manyhands.functions import ParallelFunction
from manyhands.options import validated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

    from manyhands.collecting import CollectingFunction
    from manyhands.scheduling.failures import Failure
    from manyhands.scheduling.streaming import TaskStream
    from manyhands.tasks import ProcessTask

    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")

    class TaskDecorator(Protocol):
        """What ``@process_task(option=...)`` decorates with."""

        @overload
        def __call__(self, function: Callable[P, Iterator[T]], /) -> ProcessTask[P, TaskStream[T]]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> ProcessTask[P, R]: ...


if TYPE_CHECKING:
    # @parallel_map, without parentheses, or parallel_map(function, option=...); what calls give follows from on_error
    @overload
    def parallel_map(
        function: Callable[P, R], /, *, on_error: Literal["collect"], **options: Any
    ) -> CollectingFunction[P, R]: ...
    @overload
    def parallel_map(
        function: Callable[P, R], /, *, on_error: Callable[[Failure], T], **options: Any
    ) -> ParallelFunction[P, R | T]: ...
    @overload
    def parallel_map(function: Callable[P, R], /, **options: Any) -> ParallelFunction[P, R]: ...
    # @parallel_map(option=...)
    @overload
    def parallel_map(
        function: None = None, /, *, on_error: Literal["collect"], **options: Any
    ) -> Callable[[Callable[P, R]], CollectingFunction[P, R]]: ...
    @overload
    def parallel_map(
        function: None = None, /, *, on_error: Callable[[Failure], T], **options: Any
    ) -> Callable[[Callable[P, R]], ParallelFunction[P, R | T]]: ...
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
        _check("parallel_map", function)
        _refuse_generators(function)
        if isinstance(function, ParallelFunction):
            return function.options(**changes)
        from manyhands.captured import warn_lost_updates

        warn_lost_updates(function, stacklevel=3)
        return ParallelFunction(function, changes)

    return decorate if function is None else decorate(function)


if TYPE_CHECKING:
    # A generator function gives a stream of what it yields.
    @overload
    def process_task(
        function: Callable[P, Iterator[T]], /, **options: Any
    ) -> ProcessTask[P, TaskStream[T]]: ...
    # @process_task, without parentheses, or process_task(function, option=...)
    @overload
    def process_task(function: Callable[P, R], /, **options: Any) -> ProcessTask[P, R]: ...
    # @process_task(option=...)
    @overload
    def process_task(function: None = None, /, **options: Any) -> TaskDecorator: ...


def process_task(function: Any = None, /, **options: Any) -> Any:
    """Have each call of a function run in a worker process: isolated, limited in time, ended when it must be.

    Args:
        function: the function, method, lambda, partial or callable object; a generator function gives streams.
        **options: as in ``Options``.

    Returns:
        A ``ProcessTask``; without ``function``, a decorator that makes one.

    Raises:
        TypeError: what is decorated cannot be called, or is a coroutine function.
        OptionsError: an option is unknown, out of range, or means nothing for a single call.

    Example:
        >>> from manyhands import process_task
        >>> @process_task(timeout=60, retries=2)
        ... def square(x: int) -> int:
        ...     return x * x
        >>> square(4)
        16
        >>> @process_task
        ... def up_to(n):
        ...     yield from range(n)
        >>> sum(up_to(10))
        45
    """
    from manyhands.tasks import ProcessTask, checked

    changes = checked(options)

    def decorate(function: Any) -> Any:
        _check("process_task", function)
        if isinstance(function, Decorated):
            return ProcessTask(function.__wrapped__, {**function._changes, **changes}, function._memory)
        from manyhands.captured import warn_lost_updates

        warn_lost_updates(function, stacklevel=3)
        return ProcessTask(function, changes)

    return decorate if function is None else decorate(function)


if TYPE_CHECKING:
    # On a class; on a function, with states by keyword, which its callers need not give any more.
    @overload
    def shared_state(kind: type[T], /) -> type[T]: ...
    @overload
    def shared_state(**states: Any) -> Callable[[Callable[..., R]], Callable[..., R]]: ...


def shared_state(kind: Any = None, /, **states: Any) -> Any:
    """Declare state that processes share: on a class of fields, or on a function that is to be given such states.

    On a class whose body declares fields (``accumulator``, ``value``, ``array``, ``managed``, ``lock``, ...): each instance is a
    state, and a handle on it that means the same state in every process it gets to. On a function: makes the
    states, gives them to it as keywords in every call, and keeps them in ``function.state``.

    Args:
        kind: the class.
        **states: for a function, by keyword, classes so decorated, or their instances.

    Returns:
        The class; or a decorator for a function, above or below ``parallel_map`` and ``process_task``.

    Raises:
        SharedStateError: the class declares no field, or the function takes no such keyword.

    Example:
        >>> from collections import Counter
        >>> from manyhands import accumulator, parallel_map, shared_state
        >>> @shared_state
        ... class Totals:
        ...     words: Counter = accumulator(Counter)
        >>> @parallel_map
        ... @shared_state(totals=Totals)
        ... def count(line, *, totals):
        ...     totals.words.update(line.split())
        >>> _ = count.map(["many hands", "make light work"])
        >>> count.state.totals.words.total()
        5
    """
    from manyhands.shared import state

    if states and kind is None:
        return lambda function: _stateful(function, states)
    if not isinstance(kind, type) or states:
        raise TypeError(
            "shared_state decorates a class whose body declares fields, or, with states by keyword, a function: "
            "@shared_state(totals=Totals)"
        )
    return state.declare(kind)


def _stateful(function: Any, states: dict[str, Any]) -> Any:
    from manyhands.shared.state import give

    if isinstance(function, Decorated):
        return type(function)(give(function.__wrapped__, states), function._changes)
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_stateful(function.__func__, states))
    return give(function, states)


def _check(decorator: str, function: Any) -> None:
    """Refuse what cannot be sent to a worker."""
    if isinstance(function, (type, staticmethod, classmethod)):
        return
    if not callable(function):
        raise TypeError(
            f"{decorator} needs a function, not {function!r:.60} (a {type(function).__name__}); options are given by name: "
            f"@{decorator}(max_workers=2)"
        )
    code = _code(function)
    flags = getattr(code, "co_flags", 0)
    if flags & _COROUTINE:
        raise TypeError(
            f"{function.__qualname__} is a coroutine function; {decorator} sends ordinary functions to processes: "
            "use asyncio.gather for coroutines, or decorate the function that does the computing and await its "
            f"{'amap()' if decorator == 'parallel_map' else 'acall()'}"
        )


def _code(function: Any) -> Any:
    """The code of a function, also of one that is given states."""
    return getattr(getattr(function, "func", function), "__code__", None)


def _refuse_generators(function: Any) -> None:
    if getattr(_code(function), "co_flags", 0) & _GENERATOR:
        raise TypeError(
            f"{function.__qualname__} is a generator function, and generators cannot leave their process; return a list, or use "
            "process_task, which gives a stream of what it yields"
        )


_COROUTINE, _GENERATOR = (
    0x80 | 0x200,
    0x20,
)  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR, CO_GENERATOR; inspect is slow to load
