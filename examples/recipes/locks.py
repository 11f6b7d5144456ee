"""Taking turns, and waiting for each other: locks, semaphores, events, barriers, conditions; and a holder that dies."""

import os
import signal
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from manyhands import ProcessPool, WorkerCrashedError, parallel_map, process_task
from manyhands.shared import Barrier, Condition, Event, Lock, Semaphore, Value


@parallel_map(max_workers=3, timeout=60)
def print_page(number: int, printer: Lock, paper: Path) -> None:
    """One printer at a time."""
    with printer, paper.open("a") as file:
        for line in range(3):
            file.write(f"{number}.{line} ")
            file.flush()
            time.sleep(0.001)


@parallel_map(max_workers=3, timeout=60)
def download(_: int, connections: Semaphore, now: Value[int], most: Value[int]) -> None:
    """Two at a time, of however many workers."""
    with connections:
        most.max(now.add(1))
        time.sleep(0.005)
        now.add(-1)


def run(start: Event, finish: Barrier, waiting: Value[int]) -> int:
    """All wait for the start, then all go; and who is first waits for the others."""
    waiting.add(1)
    start.wait()
    time.sleep(0.001)
    return finish.wait(timeout=30)


def prepare(parts: Value[int], changed: Condition) -> None:
    """Do something that somebody waits for, and say so."""
    with changed:
        parts.value += 1
        changed.notify_all()


@process_task
def die(printer: Lock) -> None:
    """Take the lock, and crash."""
    printer.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


with tempfile.TemporaryDirectory() as folder:
    paper = Path(folder) / "paper"
    printer = Lock()
    print_page.map(range(8), printer=printer, paper=paper)
    pages = [word.partition(".")[0] for word in paper.read_text().split()]
    print("pages in one piece:", all(len(set(pages[at : at + 3])) == 1 for at in range(0, 24, 3)))

most = Value(int)
download.map(range(8), connections=Semaphore(2), now=Value(int), most=most)
print("at most two connections:", most.value <= 2)

with ProcessPool(3) as pool:
    start, finish, waiting = Event(), Barrier(3), Value(int)
    runners: list[Future[Any]] = [pool.submit(run, start, finish, waiting) for _ in range(3)]
    start.set()
    print("places:", sorted(runner.result() for runner in runners))

    parts, changed = Value(int), Condition()
    for _ in range(3):
        pool.submit(prepare, parts, changed)
    with changed:
        changed.wait_for(lambda: parts.value == 3)
    print("parts:", parts.value)

# A lock whose holder dies is released, and who gets it next is told.
try:
    die(printer)
except WorkerCrashedError:
    with printer:
        print("the holder died:", printer.holder_died)
with printer:
    print("and the one after that:", printer.holder_died)
