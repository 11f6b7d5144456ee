"""Random functions: what they compute, for which items they fail, and with what; and what came of calling them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(number: int) -> settings:
    """So many examples; the first of a test may take long, because it starts a pool, which says nothing.

    ``MANYHANDS_EXAMPLES=20`` in the environment makes it 20 times as many.
    """
    factor = int(os.environ.get("MANYHANDS_EXAMPLES", "1"))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number * factor, deadline=None, suppress_health_check=slow)


class Outcome(NamedTuple):
    """What a call gave: results, and how it ended. Compared by what can be seen: NaN has no equal, 1 equals True."""

    results: str
    error: str

    @classmethod
    def of(cls, call: Callable[[], Iterable[Any]], *, unordered: bool = False) -> Outcome:
        """Run a call to its end."""
        results: list[Any] = []
        error = ""
        try:
            for result in call():
                results.append(result)
        except BaseException as caught:
            if isinstance(caught, KeyboardInterrupt) and not caught.args:
                raise
            found: Any = caught
            if type(caught) is RuntimeError and isinstance(caught.__cause__, StopIteration):
                found = caught.__cause__  # no iterator may raise it (PEP 479)
            error = f"{type(found).__module__}.{type(found).__qualname__}{found.args!r}{_attributes(found)!r}"
        shown = [repr(result) for result in results]
        return cls(repr(sorted(shown) if unordered else shown), error)


def _attributes(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in sorted(vars(error).items()) if name != "__notes__"}


class BoomError(Exception):
    """An exception with a constructor and attributes of its own."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class AwkwardError(ValueError):
    """Its arguments do not fit its constructor."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}")
        self.pair = (one, two)


class EndError(BaseException):
    """Not an Exception."""


class Failure(NamedTuple):
    """How to make an exception; not all exceptions can be unpickled, and those that a task raises need not be."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    keywords: dict[str, Any]

    def make(self) -> BaseException:
        return self.kind(*self.args, **self.keywords)


class Function:
    """A function of one item, or of several, that fails for some of them.

    Args:
        compute: what it gives otherwise.
        failures: how it fails for an item, by the item's repr.
    """

    def __init__(self, compute: Callable[..., Any], failures: dict[str, Failure]) -> None:
        self.compute = compute
        self.failures = failures

    def __repr__(self) -> str:
        return f"Function({self.compute!r}, {self.failures!r})"

    def run(self, *items: Any, **constants: Any) -> Any:
        failure = self.failures.get(repr(items))
        if failure is not None:
            raise failure.make()
        return self.compute(*items, **constants)

    __call__ = run


# what is computed: deterministic, and for anything


def same(*items: Any) -> Any:
    return items[0]


def pair(*items: Any) -> Any:
    return (*items, len(items))


def shown(*items: Any) -> str:
    return repr(items)


def nested(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "kinds": [type(item).__name__ for item in items]}


def nothing(*items: Any) -> None:
    return None


def closed_over(value: Any) -> Callable[..., Any]:
    def closure(*items: Any, again: int = 2) -> Any:
        return [value] * again, items

    return closure


def with_first(first: Any, *items: Any) -> Any:
    return first, items


def shapes(function: Function) -> dict[str, Callable[..., Any]]:
    """The same function in several forms."""

    class Holder:
        def method(self, *items: Any) -> Any:
            return function(*items)

        @staticmethod
        def static(*items: Any) -> Any:
            return function(*items)

    return {
        "callable object": function,
        "bound method": function.run,
        "lambda": lambda *items: (function, function.run(*items))[1],
        "method of a local class": Holder().method,
        "static method of a local class": Holder.static,
        "partial": partial(Function.run, function),
    }


# strategies

#: A small alphabet: many items are equal, so that failures meet them.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.frozensets(st.integers(0, 5), max_size=3)
    ),
    max_leaves=6,
)


def failing(kind: type[BaseException], *args: Any, **keywords: Any) -> st.SearchStrategy[Failure]:
    return st.builds(Failure, st.just(kind), st.tuples(*args), st.fixed_dictionaries(keywords))


words = st.text(max_size=5)
failures = st.one_of(
    failing(ValueError, words),
    failing(KeyError, st.integers(), words),
    failing(OSError, st.integers(1, 30), words),
    failing(BoomError, st.integers(), reason=words),
    failing(AwkwardError, st.integers(), words),
    failing(StopIteration, st.integers()),
    failing(SystemExit, st.integers()),
    failing(EndError, words),
    failing(RecursionError),
    failing(
        UnicodeDecodeError, st.just("utf-8"), st.binary(min_size=2, max_size=3), st.just(0), st.just(1), words
    ),
)
exceptions = failures.map(Failure.make)

computations = st.one_of(
    st.sampled_from([same, pair, shown, nested, nothing]),
    values.map(closed_over),
    values.map(lambda value: partial(with_first, value)),
)


@st.composite
def function_and_items(
    draw: st.DrawFn, arguments: int = 1
) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """A function, and the tuples of arguments to call it with; it may fail for some of them."""
    items = draw(st.lists(st.tuples(*[values] * arguments), max_size=25))
    bad = draw(st.lists(st.sampled_from(items), max_size=2)) if items and draw(st.booleans()) else []
    function = Function(draw(computations), {repr(item): draw(failures) for item in bad})
    forms = shapes(function)
    return forms[draw(st.sampled_from(sorted(forms)))], items
