"""The competitors, each behind the same small interface and used as its documentation tells a user to.

An adapter's life in a fresh process: `load` (the import that a user writes at the head of a module),
`define` (what a user does once with the function, where it is defined), `setup` (the pool starts), `map`
any number of times, `teardown`. An adapter that can't take a closure needs no word about it: its `map`
raises, and the harness reports "cannot".

Libraries are imported by name, inside `load`: none of them has to be installed, and none is loaded but the
one that is measured.
"""

from __future__ import annotations

import importlib
import math
import os
from abc import ABC, abstractmethod

TYPE_CHECKING = False  # see `work`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from work import Task


class Adapter(ABC):
    """One way to map a function over a list with some number of workers."""

    name: ClassVar[str]
    """Its name on the command line."""
    title: ClassVar[str]
    """Its name in the report."""
    source: ClassVar[str] = ""
    """What is imported, as `module:attribute`."""
    reference: ClassVar[bool] = False
    """It is no competitor, but something to compare them with."""
    distribution: ClassVar[str] = ""
    """The distribution whose version is reported, where it is not the standard library."""
    one_by_one: ClassVar[bool] = False
    """It sends every item in a message of its own."""
    takes_other_functions: ClassVar[bool] = True
    """Its pool can be warmed up with another function than the one that is measured."""
    optional: ClassVar[bool] = False
    """The group `benchmarks` does not install it: it is measured where it is named."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.factory: Any = None
        self.pool: Any = None

    def load(self) -> None:
        """Import the library; raise ImportError where it is not installed."""
        self.factory = find(self.source)

    def define(self, func: Task) -> Any:
        """Do what a user does once with the function; return what `map` then takes."""
        return func

    @abstractmethod
    def setup(self) -> None:
        """Make the pool."""

    @abstractmethod
    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        """Apply the function to every item; return the list of results in input order."""

    def teardown(self) -> None:  # noqa: B027  # nothing to stop is a good default
        """Stop the workers and wait until they have stopped."""


class Loop(Adapter):
    """The loop itself, measured as if it were a competitor: what it differs from 1 by is noise."""

    name = "loop"
    title = "the loop itself (noise)"
    reference = True

    def load(self) -> None:
        pass

    def setup(self) -> None:
        pass

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        return [func(item) for item in items]


class BareForks(Adapter):
    """A fork per worker, the items dealt out, results back through pipes: what the machine can give.

    No pool is much faster on work that keeps the cores busy. Cores that share their arithmetic units, or a
    host that gives its guests less than whole cores, keep even this below the number of workers.
    """

    name = "forks"
    title = "bare forks (ceiling)"
    reference = True

    def load(self) -> None:
        self.pickle: Any = importlib.import_module("pickle")

    def setup(self) -> None:
        pass

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        results = [0] * len(items)
        pipes = [self._fork(func, items[place :: self.workers]) for place in range(self.workers)]
        for place, pipe in enumerate(pipes):
            with os.fdopen(pipe, "rb") as file:
                results[place :: self.workers] = self.pickle.load(file)
            os.wait()
        return results

    def _fork(self, func: Any, items: Sequence[int]) -> int:
        """Map the items in a child; return the pipe to read the results from."""
        reads, writes = os.pipe()
        if os.fork() == 0:
            with os.fdopen(writes, "wb") as file:
                self.pickle.dump([func(item) for item in items], file)
            os._exit(0)
        os.close(writes)
        return reads


class ManyHands(Adapter):
    """`parallel_map`; its pool is shared, and starts when it is first needed."""

    name = "manyhands"
    title = "manyhands"
    source = "manyhands:parallel_map"
    distribution = "manyhands"

    def define(self, func: Task) -> Any:
        return self.factory(func, max_workers=self.workers)

    def setup(self) -> None:
        pass

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        result: list[int] = func.map(items)
        return result

    def teardown(self) -> None:
        find("manyhands:shutdown")()


class MultiprocessingPool(Adapter):
    """`multiprocessing.Pool.map`, which by default makes four chunks per worker."""

    name = "pool"
    title = "multiprocessing.Pool"
    source = "multiprocessing:Pool"

    def setup(self) -> None:
        self.pool = self.factory(self.workers)

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        result: list[int] = self.pool.map(func, items)
        return result

    def teardown(self) -> None:
        self.pool.terminate()
        self.pool.join()


class Executor(Adapter):
    """`ProcessPoolExecutor.map` as it comes: one item per message."""

    name = "executor"
    title = "ProcessPoolExecutor"
    source = "concurrent.futures:ProcessPoolExecutor"
    one_by_one = True

    def setup(self) -> None:
        self.pool = self.factory(self.workers)

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        return list(self.pool.map(func, items))

    def teardown(self) -> None:
        self.pool.shutdown()


class TunedExecutor(Executor):
    """`ProcessPoolExecutor.map` with the chunk size that `multiprocessing.Pool` would have taken."""

    name = "executor_tuned"
    title = "ProcessPoolExecutor, tuned"
    one_by_one = False

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        chunksize = max(1, math.ceil(len(items) / (4 * self.workers)))
        return list(self.pool.map(func, items, chunksize=chunksize))


class Joblib(Adapter):
    """`joblib.Parallel` with its default backend, loky, kept open so that workers and batch size are reused."""

    name = "joblib"
    title = "joblib"
    source = "joblib:Parallel"
    distribution = "joblib"

    def load(self) -> None:
        super().load()
        self.delayed: Any = find("joblib:delayed")

    def setup(self) -> None:
        self.pool = self.factory(n_jobs=self.workers).__enter__()

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        delayed = self.delayed(func)
        result: list[int] = self.pool(delayed(item) for item in items)
        return result

    def teardown(self) -> None:
        self.pool.__exit__(None, None, None)
        # Leaving the context hands the workers back to loky, which would keep them for a later caller.
        find("joblib.externals.loky:get_reusable_executor")().shutdown(wait=True)


class Mpire(Adapter):
    """`mpire.WorkerPool` with `keep_alive`, so that workers are reused between calls.

    Its workers inherit the first function when they are forked, closure or not; a second one is pickled to
    them, and a closure then breaks the pool.
    """

    name = "mpire"
    title = "mpire"
    source = "mpire:WorkerPool"
    distribution = "mpire"
    takes_other_functions = False

    def setup(self) -> None:
        self.pool = self.factory(n_jobs=self.workers, keep_alive=True)

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        result: list[int] = self.pool.map(func, items)
        return result

    def teardown(self) -> None:
        self.pool.terminate()


class Pebble(Adapter):
    """`pebble.ProcessPool.map` as it comes: one item per message."""

    name = "pebble"
    title = "pebble"
    source = "pebble:ProcessPool"
    distribution = "pebble"
    one_by_one = True

    def setup(self) -> None:
        self.pool = self.factory(max_workers=self.workers)

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        return list(self.pool.map(func, items).result())

    def teardown(self) -> None:
        self.pool.stop()
        self.pool.join()


class Ray(Adapter):
    """`ray`, with a cluster of this machine alone: a task for each item, the results taken together."""

    name = "ray"
    title = "ray"
    distribution = "ray"
    one_by_one = True
    optional = True

    def load(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it warns about otherwise
        self.factory = importlib.import_module("ray")

    def define(self, func: Task) -> Any:
        return self.factory.remote(func)

    def setup(self) -> None:
        # Its folder holds sockets, whose paths must be short.
        self.folder = find("tempfile:mkdtemp")(prefix="ray", dir="/tmp" if os.path.isdir("/tmp") else None)
        self.factory.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=self.folder,
        )

    def map(self, func: Any, items: Sequence[int]) -> list[int]:
        results: list[int] = self.factory.get([func.remote(item) for item in items])
        return results

    def teardown(self) -> None:
        self.factory.shutdown()
        find("shutil:rmtree")(self.folder, ignore_errors=True)


ADAPTERS: dict[str, type[Adapter]] = {
    adapter.name: adapter
    for adapter in (
        ManyHands,
        Loop,
        BareForks,
        MultiprocessingPool,
        Executor,
        TunedExecutor,
        Joblib,
        Mpire,
        Pebble,
        Ray,
    )
}
"""Every competitor and reference, by name, in the order of the report."""


def find(source: str) -> Any:
    """Import what `module:attribute` names.

    Raises:
        ImportError: The module is not installed, or has no such attribute.
    """
    module_name, _, attribute = source.partition(":")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImportError(f"{module_name} has no {attribute}") from None
