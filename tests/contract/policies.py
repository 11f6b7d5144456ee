"""What the tests of policies send to workers; apart from them, so that a worker does not load what tests need."""

from __future__ import annotations

from pathlib import Path


def reciprocal(number: int) -> float:
    return 1 / number


def count_up(path: str, number: int) -> int:
    """Fails until it has been called ``number`` times for that file."""
    with open(path, "a") as file:
        file.write("x")
        calls = file.tell()
    if calls < number:
        raise ConnectionError(calls)
    return calls


def wait_for_ever(_: int) -> None:
    import threading

    threading.Event().wait()


def wait_for_some(number: int) -> int:
    if number:
        wait_for_ever(number)
    return number


class Flaky:
    """Fails the first time that it is called with some numbers.

    Args:
        folder: where it notes that it has.
        numbers: which.
    """

    def __init__(self, folder: Path, numbers: tuple[int, ...]) -> None:
        self.folder, self.numbers = folder, numbers

    def __call__(self, number: int) -> int:
        mark = self.folder / str(number)
        if number in self.numbers and not mark.exists():
            mark.touch()
            raise OSError(number)
        return number
