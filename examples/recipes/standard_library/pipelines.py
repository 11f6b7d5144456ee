"""Producers and consumers: with one of each, with several, and a pipeline of three stages that never runs full."""

import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

END = None  # a sentinel: one for each consumer, after the last producer


def lines(paths: list[Path], out: "Queue[Any]", consumers: int = 1) -> None:
    """The first stage: read."""
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for line in file:
                out.put(line)
    for _ in range(consumers):
        out.put(END)


def taken(source: "Queue[Any]", producers: int = 1) -> Iterator[Any]:
    """What comes out of a queue, until all producers have ended; for ever, if one of them was killed."""
    while producers:
        item = source.get()
        if item is END:
            producers -= 1
        else:
            yield item


def words(source: "Queue[Any]", out: "Queue[Any]") -> None:
    """The second stage: take apart."""
    for line in taken(source):
        for word in line.split():
            if word.isidentifier():
                out.put(word)
    out.put(END)


def count(source: "Queue[Any]", out: "Queue[Any]") -> None:
    """The third stage: count."""
    out.put(Counter(taken(source)))


def longest(source: "Queue[Any]", out: "Queue[Any]", producers: int) -> None:
    """A consumer."""
    out.put(max(len(line.rstrip()) for line in taken(source, producers)))


def clock(out: "Queue[Any]") -> None:
    """Put the time, for ever."""
    while True:
        out.put(time.monotonic())


def started(*jobs: tuple[Any, ...]) -> list[Process]:
    """Start a process for each function and its arguments."""
    processes = [Process(target=function, args=arguments, daemon=True) for function, *arguments in jobs]
    for process in processes:
        process.start()
    return processes


def main() -> None:
    paths = sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py"))

    read: Queue[Any] = Queue(maxsize=128)
    processes = started((lines, paths, read))
    print("lines:", sum(1 for _ in taken(read)))

    # Two producers, two consumers: each producer leaves a sentinel for each consumer, which must count them.
    found: Queue[Any] = Queue()
    processes += started((lines, paths[0::2], read, 2), (lines, paths[1::2], read, 2))
    processes += started((longest, read, found, 2), (longest, read, found, 2))
    print("longest:", max(found.get(), found.get()))

    parts: Queue[Any] = Queue(maxsize=128)
    processes += started((lines, paths, read), (words, read, parts), (count, parts, found))
    print("most frequent:", found.get().most_common(2))
    for process in processes:
        process.join()

    times: Queue[Any] = Queue(maxsize=10)
    (endless,) = started((clock, times))
    times.get()
    time.sleep(0.1)
    now = time.monotonic()
    early = sum(1 for _ in range(50) if times.get() < now)
    print("made while nobody asked: at most 10:", early <= 12)  # one in its hand, one on its way
    endless.terminate()  # and with it the queue: nobody may use that any more


if __name__ == "__main__":
    main()
