"""A dictionary, a list and an object of one's own that all processes use, and what each use costs."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Value
from multiprocessing.managers import SyncManager
from typing import Any


class Budget:
    """An ordinary class, which knows nothing of processes."""

    def __init__(self, left: int) -> None:
        self._left = left

    def left(self) -> int:
        """A method: proxies show no attributes."""
        return self._left

    def take(self, amount: int) -> bool:
        """Take some, if there is as much: two steps, and the manager has a thread for each client."""
        if amount > self._left:
            return False
        self._left -= amount
        return True


class Manager(SyncManager):
    """What the manager can make is registered before it is started."""


Manager.register("Budget", Budget)


def visit(page: str, visits: Any, order: Any, budget: Any, lock: Any) -> bool:
    """So each use is locked, and a worker that dies in there keeps the lock for ever."""
    with lock:
        if not budget.take(1):
            return False
        if visits.setdefault(page, 0) == 0:
            order.append(page)
        visits[page] = visits[page] + 1
    return True


def cost(what: str, use: Callable[[], object], times: int = 300) -> None:
    start = time.perf_counter()
    for _ in range(times):
        use()
    print(f"measured: {what}: {(time.perf_counter() - start) / times * 1e6:.1f} µs")


if __name__ == "__main__":
    with Manager() as manager, ProcessPoolExecutor(2) as pool:
        visits, order, lock = manager.dict(), manager.list(), manager.Lock()
        budget = manager.Budget(25)  # type: ignore[attr-defined]
        pages = ["home", "news", "about"] * 10
        given = [[each] * len(pages) for each in (visits, order, budget, lock)]
        print("visited:", sum(pool.map(visit, pages, *given)), "of", len(pages))
        print("left in the budget:", budget.left())
        print("visits, all together:", sum(visits.values()))
        print("pages:", sorted(set(order)))

        number = Value("q", 0)

        def add() -> None:
            with number.get_lock():
                number.value += 1

        cost("a value, += 1 under its lock", add)
        cost("a manager's dict, one item", lambda: visits["home"])
        cost("a method of a managed object", lambda: budget.take(0))
