"""What type checkers infer for users of the package; ``test_typing`` has mypy and pyright read it. Never run."""

# pyright: strict

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import assert_type

from manyhands import (
    Collected,
    Failure,
    ParallelFunction,
    RunningTask,
    TaskStream,
    accumulator,
    array,
    event,
    lock,
    managed,
    parallel_map,
    process_task,
    shared_state,
    value,
)
from manyhands.shared import Event, Lock


@parallel_map
def half(x: int, *, scale: float = 1.0) -> float:
    return x / 2 * scale


@parallel_map(max_workers=2, chunksize=10)
def label(x: int, name: str, *, sep: str = "-") -> str:
    return f"{x}{sep}{name}"


@parallel_map()
def three(x: int, y: str, z: bytes) -> tuple[int, str, bytes]:
    return x, y, z


@parallel_map
def five(a: int, b: str, c: bytes, d: float, e: bool) -> None: ...


# calling it is calling the function
assert_type(half(3), float)
assert_type(half(3, scale=2.0), float)
assert_type(label(3, "a"), str)

# map: one result for each item
assert_type(half.map([1, 2]), list[float])
assert_type(half.map(range(3), scale=2.0), list[float])
assert_type(label.map([1], ["a"]), list[str])
assert_type(label.map([1], iter("a"), sep="+"), list[str])
assert_type(three.map([1], ["a"], [b"a"]), list[tuple[int, str, bytes]])
assert_type(five.map([1], ["a"], [b"a"], [1.0], [True]), list[None])

# starmap, imap, imap_unordered
assert_type(label.starmap([(1, "a")], sep="+"), list[str])
assert_type(half.imap([1]), Iterator[float])
assert_type(label.imap([1], ["a"], sep="+"), Iterator[str])
assert_type(three.imap([1], ["a"], [b"a"]), Iterator[tuple[int, str, bytes]])
assert_type(half.imap_unordered([1]), Iterator[float])
assert_type(label.imap_unordered([1], ["a"]), Iterator[str])
assert_type(three.imap_unordered([1], ["a"], [b"a"]), Iterator[tuple[int, str, bytes]])

# submit: a future of the result
assert_type(half.submit(1), Future[float])
assert_type(half.submit(1, scale=2.0).result(), float)


async def awaiting() -> None:
    assert_type(await half.amap([1], scale=2.0), list[float])
    assert_type(await label.amap([1], ["a"]), list[str])


# options: a copy of the same type
assert_type(label.options(max_workers=3).map([1], ["a"]), list[str])

# the decorator as a function
assert_type(parallel_map(len).map(["a"]), list[int])
assert_type(parallel_map(str).map([1]), list[str])
assert_type(parallel_map(half.__wrapped__).map([1]), list[float])
assert_type(parallel_map(half).map([1]), list[float])
assert_type(parallel_map(functools.partial(label.__wrapped__, sep="+")).map([1], ["a"]), list[str])
assert_type(parallel_map(max_workers=2)(half.__wrapped__).map([1], scale=2.0), list[float])


# a decorated function is passed on as any other callable
def apply(function: ParallelFunction[[int], float], items: Iterable[int]) -> list[float]:
    return function.map(items)


class Adder:
    @parallel_map
    def add(self, x: int, *, twice: bool = False) -> int:
        return x * (1 + twice)

    @parallel_map(max_workers=2)
    def with_options(self, x: int) -> str:
        return str(x)

    @parallel_map
    @staticmethod
    def outer_static(x: int) -> float:
        return x / 2

    @staticmethod
    @parallel_map
    def inner_static(x: int) -> float:
        return x / 2

    @parallel_map
    @classmethod
    def outer_class(cls, x: int) -> float:
        return x / 2

    @classmethod
    @parallel_map
    def inner_class(cls, x: int) -> float:
        return x / 2


class Special(Adder): ...


# methods are bound, from a subclass too
assert_type(Adder().add(1), int)
assert_type(Adder().add.map([1], twice=True), list[int])
assert_type(Special().add.map([1]), list[int])
assert_type(Adder().with_options.map([1]), list[str])
assert_type(Adder.add.map([Adder()], [1]), list[int])
assert_type(Adder().add.submit(1).result(), int)
assert_type(parallel_map(Adder().add).map([1]), list[int])

# static and class methods, whichever decorator comes first
assert_type(Adder.outer_static(1), float)
assert_type(Adder.outer_static.map([1]), list[float])
assert_type(Adder().outer_static.map([1]), list[float])
assert_type(Adder.inner_static.map([1]), list[float])
assert_type(Adder.outer_class.map([1]), list[float])
assert_type(Adder().outer_class.map([1]), list[float])
assert_type(Special.inner_class.map([1]), list[float])


# error policies: what calls give follows from them
@parallel_map(on_error="collect")
def collecting(x: int) -> str:
    return str(x)


@parallel_map(on_error="skip", timeout=3)
def skipping(x: int) -> str:
    return str(x)


def instead(failure: Failure) -> None: ...


assert_type(collecting.map([1]), Collected[str])
assert_type(collecting.map([1])[0], str | Failure)
assert_type(collecting.map([1]).values, list[str])
assert_type(collecting.map([1]).errors, list[Failure])
assert_type(collecting.starmap([(1,)]), Collected[str])
assert_type(collecting.imap([1]), Iterator[str | Failure])
assert_type(collecting.options(on_error="raise").map([1]), list[str])
assert_type(collecting(1), str)
assert_type(skipping.map([1]), list[str])
assert_type(half.options(on_error="collect").map([1], scale=1.0), Collected[float])
assert_type(half.options(on_error=instead).map([1]), list[float | None])
assert_type(parallel_map(str, on_error=instead).map([1]), list[str | None])
assert_type(parallel_map(len, on_error="collect").map(["a"]), Collected[int])


# tasks
@process_task
def render(x: int, *, big: bool = False) -> bytes:
    return bytes(x)


@process_task(timeout=3)
def limited(x: int) -> bytes:
    return bytes(x)


@process_task
def lines(path: str) -> Iterator[str]:
    yield path


class Pages:
    @process_task
    def page(self, number: int) -> str:
        return str(number)


assert_type(render(1, big=True), bytes)
assert_type(limited(1), bytes)
assert_type(render.submit(1), Future[bytes])
assert_type(render.options(timeout=3)(1), bytes)
assert_type(render.start(1), RunningTask[bytes])
assert_type(lines("a"), TaskStream[str])
assert_type(Pages().page(3), str)


async def awaiting_tasks() -> None:
    assert_type(await render.acall(1), bytes)


# states: fields are of the types that they are declared with, and the class stays what it is
@shared_state
class Totals:
    words: Counter[str] = accumulator(Counter)
    lines: int = accumulator(int)
    start: float = accumulator(0.5)
    items: list[str] = accumulator(list)
    least: int = accumulator(lambda: 0, merge=min)
    best: float = value(float, 0.0)
    grid: list[float] = array("float64", (2, 3))
    seen: dict[str, int] = managed(dict)
    gate: Lock = lock()
    ready = event()


totals = Totals()
assert_type(totals, Totals)
assert_type(totals.lines, int)
assert_type(totals.words.most_common(1), list[tuple[str, int]])
assert_type(totals.items, list[str])
assert_type(totals.gate, Lock)
assert_type(totals.ready, Event)


@parallel_map
@shared_state(totals=Totals)
def count(line: str, *, totals: Totals) -> int:
    totals.lines += 1
    return len(line)


assert_type(count.map(["a"]), list[int])
assert_type(count("a"), int)
