"""A dictionary, a list and an object of one's own that all processes use, and what each use costs."""

import time
from collections.abc import Callable
from typing import Any

from manyhands import accumulator, managed, parallel_map, shared_state, value


class Budget:
    """An ordinary class, which knows nothing of processes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Take some, if there is as much."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


@shared_state
class Crawl:
    visits: dict[str, int] = managed(dict)
    order: list[str] = managed(list)
    budget: Budget = managed(Budget, 25)
    total: int = accumulator(int)
    shared: Any = value(int)


crawl = Crawl()


@parallel_map(max_workers=2, max_tasks_per_child=1000)
def visit(page: str) -> bool:
    """A method call is one step; for more than one, with."""
    if not crawl.budget.take(1):
        return False
    if crawl.visits.setdefault(page, 0) == 0:
        crawl.order.append(page)
    with crawl.visits as visits:  # type: ignore[attr-defined]
        visits[page] = visits[page] + 1
    return True


pages = ["home", "news", "about"] * 10
print("visited:", sum(visit.map(pages)), "of", len(pages))
print("left in the budget:", crawl.budget.left)
print("visits, all together:", sum(crawl.visits.values()))
print("pages:", sorted(set(crawl.order)))


def cost(what: str, use: Callable[[], object], times: int = 300) -> None:
    start = time.perf_counter()
    for _ in range(times):
        use()
    print(f"measured: {what}: {(time.perf_counter() - start) / times * 1e6:.1f} µs")


def add_in_a_task(times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        crawl.total += 1
    return (time.perf_counter() - start) / times * 1e6


(microseconds,) = parallel_map(add_in_a_task, max_tasks_per_child=1000).map([10_000])
print(f"measured: an accumulator, += 1: {microseconds:.1f} µs")
cost("a value, add(1)", lambda: crawl.shared.add(1))
cost("a managed dict, one item", lambda: crawl.visits["home"])
cost("a method of a managed object", lambda: crawl.budget.take(0))
