"""A function with an `lru_cache`, on all cores: one cache, each key once; and a helper's cache that processes share."""

import functools
import os
import tempfile
from pathlib import Path

from manyhands import parallel_map, shared_cache

folder = Path(tempfile.mkdtemp())
TEXT = """
it was the best of times it was the worst of times
it was the age of wisdom it was the age of foolishness
"""
words = TEXT.split()


def computing(what: str) -> None:
    """Note in a file that something is computed: who does it may be any process."""
    with (folder / what).open("a") as file:
        file.write("x")


def computed(what: str) -> int:
    """Return how often, and begin anew."""
    path = folder / what
    count = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


# The cache is the function's own: it is noticed, and there is one for all processes.
@parallel_map(max_workers=2)
@functools.cache
def weight(word: str) -> int:
    """Return a number that takes a while."""
    computing("weight")
    return sum(pow(ord(letter), 5_000_000, 9_973) for letter in word)


weights = weight.map(words)
print(f"{len(words)} words, computed: {computed('weight')}")
info = weight.cache_info()
print(f"hits: {info.hits}, misses: {info.misses}")
print("again:", weight.map(words) == weights, "computed:", computed("weight"))
print("called:", weight("wisdom") == weights[words.index("wisdom")], "computed:", computed("weight"))


# The cache is a helper's, which runs where the mapped function runs.
@shared_cache(maxsize=None)
def syllables(word: str) -> int:
    """Count vowels that follow no vowel."""
    computing("syllables")
    return sum(a in "aeiou" and b not in "aeiou" for a, b in zip(word, " " + word, strict=False))


@parallel_map(max_workers=2, timeout=60)  # with a time limit no task runs in this process
def line(start: int) -> tuple[int, int]:
    """Count the syllables of six words."""
    return sum(map(syllables, words[start : start + 6])), os.getpid()


lines = line.map(range(len(words) - 5))
print(
    "lines:",
    len(lines),
    "most syllables:",
    max(count for count, _ in lines),
    "here:",
    os.getpid() in dict(lines).values(),
)
print("syllables computed:", computed("syllables"))


# With a path, a later run has them as well: here, as after a new start, a cache that has nothing in memory.
def slow_length(word: str) -> int:
    """Return a length."""
    computing("length")
    return len(word)


for run in ("first", "second"):
    length = shared_cache(maxsize=None, path=folder / "lengths.db")(slow_length)
    print(f"{run} run:", sum(map(length, words)), "letters, computed:", computed("length"))
