"""Lazy inputs: a stream larger than memory, an input without an end, results in order or as they finish."""

import sysconfig
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

BLOCK = 1 << 15


def blocks(path: Path) -> Iterator[bytes]:
    """Yield a file block by block."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def compressed(block: bytes) -> int:
    """Return how many bytes are left of a block."""
    return len(zlib.compress(block, 9))


def mersenne_prime(exponent: int) -> int | None:
    """Return the exponent if 2 ** exponent - 1 is a prime number (the test of Lucas and Lehmer), else None."""
    if any(exponent % divisor == 0 for divisor in range(2, int(exponent**0.5) + 1)):
        return None
    number, term = 2**exponent - 1, 4
    for _ in range(exponent - 2):
        term = (term * term - 2) % number
    return exponent if term == 0 or exponent == 2 else None


def words(lines: list[str]) -> int:
    """Return how many words are in some lines."""
    return sum(len(line.split()) for line in lines)


def grouped(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of lines; from Python 3.12 on, itertools.batched does it."""
    lines = iter(lines)
    return iter(lambda: list(islice(lines, size)), [])


def in_order(
    pool: Executor, function: Callable[..., Any], items: Iterable[Any], ahead: int = 8
) -> Iterator[Any]:
    """As pool.map(), which reads the whole of its input first: submit a few, take the oldest, submit one more."""
    waiting: deque[Any] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # whoever stops early must not wait for the rest
        for future in waiting:
            future.cancel()


def as_finished(
    pool: Executor, function: Callable[..., Any], items: Iterable[Any], ahead: int = 8
) -> Iterator[Any]:
    """As concurrent.futures.as_completed(), which wants all futures to be there at the beginning."""
    waiting: set[Any] = set()
    for item in items:
        waiting.add(pool.submit(function, item))
        if len(waiting) >= ahead:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in wait(waiting).done)


def main() -> None:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))
    with ProcessPoolExecutor() as pool:
        sizes = list(in_order(pool, compressed, chain.from_iterable(map(blocks, paths))))
        print(f"{sum(sizes)} bytes are left of {len(sizes)} blocks")

        found = filter(None, in_order(pool, mersenne_prime, count(2)))
        print("exponents of Mersenne primes:", list(islice(found, 12)))

        lines = chain.from_iterable(path.open(encoding="utf-8") for path in paths)
        print("words:", sum(as_finished(pool, words, grouped(lines, 500))))

        squares = in_order(pool, square, count(), ahead=10)
        print("squares:", list(islice(squares, 5)))


def square(x: int) -> int:
    return x * x


if __name__ == "__main__":
    main()
