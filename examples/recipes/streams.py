"""Lazy inputs: a stream larger than memory, an input without an end, results in order or as they finish."""

import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from pathlib import Path

from manyhands import parallel_map

BLOCK = 1 << 15
progress = {"read": 0, "done": 0, "ahead": 0}


def blocks(path: Path) -> Iterator[bytes]:
    """Yield a file block by block, and note how far reading is ahead of the results."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            progress["read"] += 1
            progress["ahead"] = max(progress["ahead"], progress["read"] - progress["done"])
            yield block


@parallel_map
def compressed(block: bytes) -> int:
    """Return how many bytes are left of a block."""
    return len(zlib.compress(block, 9))


@parallel_map
def mersenne_prime(exponent: int) -> int | None:
    """Return the exponent if 2 ** exponent - 1 is a prime number (the test of Lucas and Lehmer), else None."""
    if any(exponent % divisor == 0 for divisor in range(2, int(exponent**0.5) + 1)):
        return None
    number, term = 2**exponent - 1, 4
    for _ in range(exponent - 2):
        term = (term * term - 2) % number
    return exponent if term == 0 or exponent == 2 else None


@parallel_map
def words(lines: list[str]) -> int:
    """Return how many words are in some lines."""
    return sum(len(line.split()) for line in lines)


def grouped(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of lines; from Python 3.12 on, itertools.batched does it."""
    lines = iter(lines)
    return iter(lambda: list(islice(lines, size)), [])


paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))

# In order, one at a time, while the files are still being read.
total = 0
for size in compressed.imap(chain.from_iterable(map(blocks, paths))):
    progress["done"] += 1
    total += size
print(f"{total} bytes are left of {progress['read']} blocks")
print(f"measured: reading was never more than {progress['ahead']} blocks ahead of the results")

# No end: take what is wanted. Dropping the iterator stops the work.
print("exponents of Mersenne primes:", list(islice(filter(None, mersenne_prime.imap(count(2))), 12)))

# As they finish: for results whose order does not matter.
lines = chain.from_iterable(path.open(encoding="utf-8") for path in paths)
print("words:", sum(words.imap_unordered(grouped(lines, 500))))

# At most so many results wait for their consumer, whatever they cost: buffersize.
squares = parallel_map(lambda x: x * x, buffersize=10).imap(count())
print("squares:", list(islice(squares, 5)))
