"""Large data and those who carry it: the tasks, and each library as its documentation tells a user to go about it.

The libraries are the `adapters`, with what `memory` and `counting` ask for besides: results one after the other, a constant
for all tasks, and arrays that processes share. A library that has no word for one of these raises `NotImplementedError`.

The tasks are here and not in the scripts, so that every worker can import them: what they keep in a global stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import adapters
import numpy as np

#: Numbers of an array of 8 MB.
NUMBERS = 1_000_000

_made: list[Any] = []

# tasks


def scalar(array: Any) -> float:
    """Take an array, give a number."""
    return float(array[0] + array[-1])


def produced(_: int) -> Any:
    """Give an array that the worker has already: what is timed is its way."""
    if not _made:
        _made.append(np.full(NUMBERS, 1.0))
    return _made[0]


def one_of(index: int, *, table: Any) -> float:
    """Take one number of a constant."""
    return float(table[index])


def scalar_of(arrays: Sequence[Any], index: int) -> float:
    """Take one of the arrays that all workers have."""
    return scalar(arrays[index])


def given(table: Any, function: Callable[..., Any], item: Any) -> Any:
    """Call a function with what all workers have as its constant."""
    return function(item, table=table)


# who carries


class Carrier(adapters.Adapter):
    """What is asked for besides `Adapter.map`."""

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """Apply a function to every item; give the results in order, each as it comes if the library can."""
        raise NotImplementedError

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        """Apply a function to every item, and to an array that is the same for all of them.

        Args:
            function: takes an item, and the array as `table`.
            items: the items.
            table: the array.
            changed: it has changed since the last call.
        """
        raise NotImplementedError(f"{self.title} has no constants")

    def share(self, arrays: Sequence[Any]) -> Any:
        """Put arrays where all workers see them; return what `over` takes."""
        raise NotImplementedError(f"{self.title} shares no arrays")

    def over(self, shared: Any) -> Iterable[float]:
        """Take one number from each of the arrays."""
        return self.imap(scalar, shared)


class ManyHands(Carrier, adapters.ManyHands):
    """The limit in time keeps every task in a worker, however cheap it is. Functions are decorated once, as in a module."""

    def _mapped(self, function: Callable[..., Any]) -> Any:
        if function not in self._decorated:
            self._decorated[function] = self.factory(function, max_workers=self.workers, timeout=600)
        return self._decorated[function]

    @cached_property
    def _decorated(self) -> dict[Callable[..., Any], Any]:
        return {}

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self._mapped(function).imap(items)  # type: ignore[no-any-return]

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        return self._mapped(function).map(items, table=table)  # type: ignore[no-any-return]

    def share(self, arrays: Sequence[Any]) -> Any:
        share = adapters.find("manyhands:share")
        return [share(array) for array in arrays]

    def over(self, shared: Any) -> Iterable[float]:
        return self._mapped(scalar).map(shared)  # type: ignore[no-any-return]


class Pool(Carrier, adapters.MultiprocessingPool):
    """The array travels with the function, once for each chunk: it has no constants."""

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.pool.imap(function, items)  # type: ignore[no-any-return]

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        return self.pool.map(partial(function, table=table), items)  # type: ignore[no-any-return]


class Joblib(Carrier, adapters.Joblib):
    """It writes large arrays into files, which the workers map; those that are files already it sends by name.

    What it has written it takes again for the same object, changed or not, until the block ends in which it was written. So
    what is to travel gets a block of its own; the workers stay.
    """

    folder = ""

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        delayed = self.delayed(function)
        parallel = self.factory(n_jobs=self.workers, return_as="generator")
        return parallel(delayed(item) for item in items)  # type: ignore[no-any-return]

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        if changed:
            self.pool.__exit__(None, None, None)
            self.setup()
        delayed = self.delayed(function)
        return self.pool(delayed(item, table=table) for item in items)  # type: ignore[no-any-return]

    def share(self, arrays: Sequence[Any]) -> Any:
        dump, load = adapters.find("joblib:dump"), adapters.find("joblib:load")
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where it puts what it maps, too
        self.folder = tempfile.mkdtemp(prefix="shared-", dir=memory)
        shared = []
        for number, array in enumerate(arrays):
            (name,) = dump(array, f"{self.folder}/{number}")
            shared.append(load(name, mmap_mode="r"))
        return shared

    def teardown(self) -> None:
        super().teardown()
        if self.folder:
            shutil.rmtree(self.folder)


class Mpire(Carrier, adapters.Mpire):
    """Its shared objects are inherited by workers that are forked for them, and kept for later calls."""

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.pool.imap(function, [(item,) for item in items])  # type: ignore[no-any-return]

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        if changed:
            self._inherited(table)
        return self.pool.map(given, [(function, item) for item in items])  # type: ignore[no-any-return]

    def share(self, arrays: Sequence[Any]) -> Any:
        self._inherited(arrays)
        return range(len(arrays))

    def over(self, shared: Any) -> Iterable[float]:
        return self.pool.map(scalar_of, shared)  # type: ignore[no-any-return]

    def _inherited(self, what: Any) -> None:
        self.pool.terminate()
        self.pool = self.factory(n_jobs=self.workers, keep_alive=True, shared_objects=what)


class Ray(Carrier, adapters.Ray):
    """It has an object store: what is put there the workers map, read-only."""

    table: Any = None

    def imap(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        remote = self.define(function)
        under_way = deque(remote.remote(item) for item in items)
        while under_way:
            yield self.factory.get(under_way.popleft())

    def with_constant(
        self, function: Callable[..., Any], items: Sequence[Any], table: Any, *, changed: bool
    ) -> Iterable[Any]:
        if changed:
            self.table = self.factory.put(table)
        remote = self.define(function)
        return self.factory.get([remote.remote(item, table=self.table) for item in items])  # type: ignore[no-any-return]

    def share(self, arrays: Sequence[Any]) -> Any:
        return [self.factory.put(array) for array in arrays]

    def teardown(self) -> None:
        self.table = None
        super().teardown()


CARRIERS: dict[str, type[Carrier]] = {
    carrier.name: carrier for carrier in (ManyHands, Pool, Joblib, Mpire, Ray)
}
"""Who is measured with large data, by name, in the order of the report."""
