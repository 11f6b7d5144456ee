"""What type checkers must refuse, line by line; ``test_typing`` has mypy and pyright read it. Never run.

Each line is wrong and says so in a comment that both understand: a checker that finds nothing wrong with the line
finds the comment unnecessary, and complains of that.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from manyhands import parallel_map


@parallel_map
def half(x: int, *, scale: float = 1.0) -> float:
    return x / 2 * scale


@parallel_map(max_workers=2)
def label(x: int, name: str, *, sep: str = "-") -> str:
    return f"{x}{sep}{name}"


class Adder:
    @parallel_map
    def add(self, x: int, *, twice: bool = False) -> int:
        return x * (1 + twice)

    @parallel_map
    @staticmethod
    def static(x: int) -> float:
        return x / 2


words = ["a"]
numbers = [1]

# the call itself
half("a")  # type: ignore[arg-type]
half(1, scale="a")  # type: ignore[arg-type]

# a wrong element
half.map(words)  # type: ignore[arg-type]
label.map(numbers, numbers)  # type: ignore[arg-type]
label.map(words, words)  # type: ignore[arg-type]
half.imap(words)  # type: ignore[arg-type]
half.imap_unordered(words)  # type: ignore[arg-type]
half.amap(words)  # type: ignore[arg-type, unused-coroutine]
half.submit("a")  # type: ignore[arg-type]

# a wrong or unknown constant
half.map(numbers, scale="a")  # type: ignore[call-overload]
half.map(numbers, sep="a")  # type: ignore[call-overload]
label.imap(numbers, words, sep=1)  # type: ignore[call-overload]

# not an iterable, none at all, too few, too many
half.map(1)  # type: ignore[call-overload]
half.map()  # type: ignore[call-overload]
label.map(numbers)  # type: ignore[call-overload]
half.map(numbers, numbers)  # type: ignore[call-overload]

# methods
Adder().add.map(words)  # type: ignore[arg-type]
Adder().add.map(numbers, twice="a")  # type: ignore[call-overload]
Adder.add.map(numbers)  # type: ignore[call-overload]
Adder.static.map(words)  # type: ignore[arg-type]

# a copy with other options
half.options(max_workers=3).map(words)  # type: ignore[arg-type]

# results of another type
assert_type(half.map(numbers), list[int])  # type: ignore[assert-type]

# what is no function
parallel_map(3)  # type: ignore[call-overload]
