"""Random functions: what they compute, for which items they fail, and with what; and what came of calling them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.properties.tasks import (
    AwkwardError,
    BoomError,
    EndError,
    Failure,
    Function,
    closed_over,
    nested,
    nothing,
    pair,
    same,
    shapes,
    shown,
    with_first,
)


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


# what is computed: deterministic, and for anything


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
