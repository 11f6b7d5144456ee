"""A function with an `lru_cache`, on all cores: each process has a cache of its own, and the caller's stays empty."""

import functools
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

folder = Path(os.environ.setdefault("EXAMPLE_FOLDER", tempfile.mkdtemp()))
TEXT = """
it was the best of times it was the worst of times
it was the age of wisdom it was the age of foolishness
"""
words = TEXT.split()


def compute(word: str) -> int:
    """Return a number that takes a while."""
    with (folder / "weight").open("a") as file:
        file.write("x")
    return sum(pow(ord(letter), 5_000_000, 9_973) for letter in word)


@functools.cache
def weight(word: str) -> int:
    """Call another: what is inside of a decorated function could not be sent by itself."""
    return compute(word)


def computed() -> int:
    """Return how often it was computed, and begin anew."""
    path = folder / "weight"
    count = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as executor:
        weights = list(executor.map(weight, words))
        print(f"measured: {len(words)} words, computed: {computed()}")  # up to twice for each of the 10 words
        print("figures of the caller:", weight.cache_info())

        # To have each key once, do by hand what the cache was there for: and there is no maxsize, and nothing is left of it.
        known = dict.fromkeys(words)
        known.update(zip(known, executor.map(compute, known), strict=True))
        print("by hand:", [known[word] for word in words] == weights, "computed:", computed())
