# What type checkers take a ``ParallelFunction`` with ``on_error="collect"`` for: its calls give results and failures.
#
# Nothing of this exists when the program runs: there it is a ``ParallelFunction`` like any other. ``decorators`` and
# ``functions`` name it in their overloads.

from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from manyhands.functions import Four, One, ParallelFunction, Three, Two
from manyhands.options import Options
from manyhands.scheduling.check import Report
from manyhands.scheduling.failures import Collected, Failure

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R", covariant=True)
_R_ = TypeVar("_R_")
_T = TypeVar("_T")
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")

class CollectingFunction(Generic[_P, _R]):
    __wrapped__: Callable[_P, _R]

    @property
    def settings(self) -> Options: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
    def starmap(self, items: Iterable[Iterable[Any]], /, **constants: Any) -> Collected[_R]: ...
    def submit(self, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R | Failure]: ...
    def cache_info(self, *, per_worker: bool = False) -> Any: ...
    def cache_clear(self) -> None: ...
    def cache_report(self) -> Any: ...
    def cache_parameters(self) -> dict[str, Any]: ...
    def check(self, *iterables: Any, sample: int = 20, **constants: Any) -> Report: ...
    @overload
    def options(self, *, on_error: Literal["raise", "skip"], **changes: Any) -> ParallelFunction[_P, _R]: ...
    @overload
    def options(
        self, *, on_error: Callable[[Failure], _T], **changes: Any
    ) -> ParallelFunction[_P, _R | _T]: ...
    @overload
    def options(self, **changes: Any) -> CollectingFunction[_P, _R]: ...
    @overload
    def map(
        self: One[_A, _Q, _R_], xs: Iterable[_A], /, *args: _Q.args, **constants: _Q.kwargs
    ) -> Collected[_R_]: ...
    @overload
    def map(
        self: Two[_A, _B, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Collected[_R_]: ...
    @overload
    def map(
        self: Three[_A, _B, _C, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        zs: Iterable[_C],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Collected[_R_]: ...
    @overload
    def map(self: Callable[..., _R_], *iterables: *Four, **constants: Any) -> Collected[_R_]: ...
    @overload
    def imap(
        self: One[_A, _Q, _R_], xs: Iterable[_A], /, *args: _Q.args, **constants: _Q.kwargs
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap(
        self: Two[_A, _B, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap(
        self: Three[_A, _B, _C, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        zs: Iterable[_C],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap(self: Callable[..., _R_], *iterables: *Four, **constants: Any) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap_unordered(
        self: One[_A, _Q, _R_], xs: Iterable[_A], /, *args: _Q.args, **constants: _Q.kwargs
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap_unordered(
        self: Two[_A, _B, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap_unordered(
        self: Three[_A, _B, _C, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        zs: Iterable[_C],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def imap_unordered(
        self: Callable[..., _R_], *iterables: *Four, **constants: Any
    ) -> Iterator[_R_ | Failure]: ...
    @overload
    def amap(
        self: One[_A, _Q, _R_], xs: Iterable[_A], /, *args: _Q.args, **constants: _Q.kwargs
    ) -> Coroutine[Any, Any, Collected[_R_]]: ...
    @overload
    def amap(
        self: Two[_A, _B, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Coroutine[Any, Any, Collected[_R_]]: ...
    @overload
    def amap(
        self: Three[_A, _B, _C, _Q, _R_],
        xs: Iterable[_A],
        ys: Iterable[_B],
        zs: Iterable[_C],
        /,
        *args: _Q.args,
        **constants: _Q.kwargs,
    ) -> Coroutine[Any, Any, Collected[_R_]]: ...
    @overload
    def amap(
        self: Callable[..., _R_], *iterables: *Four, **constants: Any
    ) -> Coroutine[Any, Any, Collected[_R_]]: ...
    @overload
    def __get__(self: One[_A, _Q, _R_], instance: _A, owner: Any = None) -> CollectingFunction[_Q, _R_]: ...
    @overload
    def __get__(self: One[_A, _Q, _R_], instance: object, owner: _A) -> CollectingFunction[_Q, _R_]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> CollectingFunction[_P, _R]: ...
