"""Taking turns, and waiting for each other: locks, semaphores, events, barriers, conditions."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def print_page(number: int, printer: Any, paper: Path) -> None:
    """One printer at a time."""
    with printer, paper.open("a") as file:
        for line in range(3):
            file.write(f"{number}.{line} ")
            file.flush()
            time.sleep(0.001)


def download(connections: Any, now: Any, most: Any) -> None:
    """Two at a time, of however many workers."""
    with connections:
        with now.get_lock():
            now.value += 1
            reached = now.value
        with most.get_lock():
            most.value = max(most.value, reached)
        time.sleep(0.005)
        with now.get_lock():
            now.value -= 1


def run(start: Any, finish: Any, places: Any) -> None:
    """All wait for the start, then all go; and who is first waits for the others."""
    start.wait()
    time.sleep(0.001)
    places.put(finish.wait(timeout=30))


def prepare(parts: Any, changed: Any) -> None:
    """Do something that somebody waits for, and say so."""
    with changed:
        parts.value += 1
        changed.notify_all()


@contextmanager
def processes(function: Callable[..., None], *arguments: tuple[Any, ...]) -> Iterator[None]:
    """A process for each of the tuples: locks cannot be sent to the workers of a pool."""
    started = [multiprocessing.Process(target=function, args=each) for each in arguments]
    for process in started:
        process.start()
    yield
    for process in started:
        process.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paper = Path(folder) / "paper"
        printer = multiprocessing.Lock()
        with processes(print_page, *[(number, printer, paper) for number in range(8)]):
            pass
        pages = [word.partition(".")[0] for word in paper.read_text().split()]
        print("pages in one piece:", all(len(set(pages[at : at + 3])) == 1 for at in range(0, 24, 3)))

    connections, now = multiprocessing.Semaphore(2), multiprocessing.Value("q")
    most = multiprocessing.Value("q")
    with processes(download, *[(connections, now, most)] * 8):
        pass
    print("at most two connections:", most.value <= 2)

    start, finish = multiprocessing.Event(), multiprocessing.Barrier(3)
    places: Any = multiprocessing.Queue()
    with processes(run, *[(start, finish, places)] * 3):
        start.set()
        print("places:", sorted(places.get() for _ in range(3)))

    parts, changed = multiprocessing.Value("q"), multiprocessing.Condition()
    with processes(prepare, *[(parts, changed)] * 3), changed:
        changed.wait_for(lambda: parts.value == 3)
    print("parts:", parts.value)


if __name__ == "__main__":
    main()
