"""Find out what a task does: prints, logs, the same call here, and where a task is that does not end."""

import logging
import os
import sys
import tempfile
from pathlib import Path

from manyhands import TaskTimeoutError, parallel_map, process_task

log = logging.getLogger("recipe")
caller = os.getpid()


def set_up_logs(path: str) -> None:
    """Once in each worker: it is an interpreter of its own, and knows nothing of the program's handlers."""
    logging.basicConfig(filename=path, level=logging.INFO, format="%(levelname)s %(message)s")


@parallel_map(max_workers=2)
def ratio(pair: tuple[int, int]) -> float:
    """Divide; log what it does."""
    above, below = pair
    log.info("dividing %d by %d", above, below)
    return above / below


@process_task
def talkative(name: str) -> None:
    """Print: it goes to the program's own standard output, when the task is done."""
    print(f"hello, {name}")


@process_task(timeout=0.3)
def stuck() -> None:
    """Never end."""
    while True:
        collatz(27)


def collatz(n: int) -> int:
    return 1 if n == 1 else collatz(n // 2 if n % 2 == 0 else 3 * n + 1)


pairs = [(6, 3), (5, 2), (1, 0), (8, 2)]

talkative("world")

# Workers that write their logs into one file, each line with one write.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "log")
    logged = ratio.options(initializer=set_up_logs, initargs=(str(path),), on_error="skip")
    print("ratios:", logged.map(pairs))
    print("\n".join(sorted(path.read_text().splitlines())))

# Which item it was, and what the function was called with, is in the note of the exception.
try:
    ratio.map(pairs)
except ZeroDivisionError as error:
    print(error.__notes__[0].rpartition(",")[0])

# The same call in this process, in order, one task after the other: breakpoint() works, and so does a debugger after the
# failure, since the frames are still there. `python -m pdb` stops in the very line.
try:
    ratio.options(backend="serial").map(pairs)
except ZeroDivisionError as error:
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    print("in", trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals)

# Where does it hang? A timeout ends it, and says where it was.
try:
    stuck()
except TaskTimeoutError as error:
    print("timeout")
    print("measured:", error.stack.splitlines()[1].strip() if sys.platform == "linux" else "")

# Is it the same here and in a worker?
print(ratio.check([(6, 3), (5, 2)]))
