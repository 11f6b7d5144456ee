"""Two lists that chunks of a fixed size get wrong: very many tiny items, and a few heavy ones at the end."""

import time

from manyhands import parallel_map


def parity(number: int) -> int:
    """A tiny task: less work than sending its argument to another process."""
    return number % 2


def divisors(number: int) -> int:
    """A task whose cost depends on its item."""
    return sum(number % divisor == 0 for divisor in range(1, number + 1))


def measured(name: str, function, items) -> None:
    """Print how long the loop takes, and how long ``.map``."""
    parallel = parallel_map(function)
    parallel.map(items)  # so that the workers are there, if they are needed
    start = time.perf_counter()
    looped = [function(item) for item in items]
    middle = time.perf_counter()
    mapped = parallel.map(items)
    end = time.perf_counter()
    print(f"measured: {name}: loop {middle - start:.3f} s, .map {end - middle:.3f} s")
    print(f"{name}: the answers are equal: {looped == mapped}")


# Not worth a message each, nor a message for thousands: the loop is what runs, and nobody has to decide that.
measured("tiny", parity, range(300_000))

# The last ten make up most of the work: chunks shrink towards the end, and what waits in one is given to idle workers.
measured("heavy at the end", divisors, [2_000] * 280 + [100_000] * 20)

# By hand: every chunk has this many items. Worth it where the items are known better than measuring can know them.
print("by hand:", sum(parallel_map(divisors, chunksize=25).map(range(1, 1_001))))
