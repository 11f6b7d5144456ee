"""Two lists that chunks of a fixed size get wrong: very many tiny items, and a few heavy ones at the end."""

import multiprocessing
import time


def parity(number: int) -> int:
    """A tiny task: less work than sending its argument to another process."""
    return number % 2


def divisors(number: int) -> int:
    """A task whose cost depends on its item."""
    return sum(number % divisor == 0 for divisor in range(1, number + 1))


def measured(pool, name: str, function, items, chunksize: int | None) -> None:
    """Print how long the loop takes, and how long ``Pool.map``."""
    start = time.perf_counter()
    looped = [function(item) for item in items]
    middle = time.perf_counter()
    mapped = pool.map(function, items, chunksize)
    end = time.perf_counter()
    print(f"measured: {name}: loop {middle - start:.3f} s, Pool.map {end - middle:.3f} s")
    print(f"{name}: the answers are equal: {looped == mapped}")


def main() -> None:
    with multiprocessing.Pool() as pool:
        # With chunksize=1, the default of ProcessPoolExecutor, this is 300,000 messages there and back.
        measured(pool, "tiny", parity, range(300_000), chunksize=10_000)

        # By default Pool cuts the list into four chunks for each worker: all that is heavy is in the last one.
        measured(pool, "heavy at the end", divisors, [2_000] * 280 + [100_000] * 20, chunksize=None)

        print("by hand:", sum(pool.map(divisors, range(1, 1_001), chunksize=25)))


if __name__ == "__main__":
    main()
