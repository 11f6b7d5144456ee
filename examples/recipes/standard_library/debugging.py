"""Find out what a task does: prints, logs, the same call here, and where a task is that does not end."""

import logging
import logging.handlers
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Manager
from queue import Queue
from typing import Any

log = logging.getLogger("recipe")
caller = os.getpid()


class Lines(logging.Handler):
    """Keeps what is logged, so that it can be printed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


def set_up_logs(queue: "Queue[Any]") -> None:
    """Once in each worker: send what is logged to the program."""
    logging.getLogger().addHandler(logging.handlers.QueueHandler(queue))
    logging.getLogger().setLevel(logging.INFO)


def ratio(pair: tuple[int, int]) -> float:
    """Divide; log what it does."""
    above, below = pair
    log.info("dividing %d by %d", above, below)
    return above / below


def talkative(name: str) -> None:
    """Print: it goes to the program's own standard output, when the buffer of the worker is full, or when it ends."""
    print(f"hello, {name}", flush=True)


def main() -> None:
    pairs = [(6, 3), (5, 2), (1, 0), (8, 2)]

    with ProcessPoolExecutor(1) as pool:
        pool.submit(talkative, "world").result()

    kept = Lines()
    with Manager() as manager:
        queue = manager.Queue()
        listener = logging.handlers.QueueListener(queue, kept)
        listener.start()
        with ProcessPoolExecutor(2, initializer=set_up_logs, initargs=(queue,)) as pool:
            futures = [pool.submit(ratio, pair) for pair in pairs]
            print("ratios:", [future.result() for future in futures if future.exception() is None])
        listener.stop()
    print("\n".join(sorted(kept.lines)))

    # The traceback of the worker is text: which pair it was is not in it, and no debugger can look at it. So the call is
    # written a second time, as a loop.
    try:
        for pair in pairs:
            ratio(pair)
    except ZeroDivisionError as error:
        trace = error.__traceback__
        assert trace is not None
        while trace.tb_next is not None:
            trace = trace.tb_next
        print("in", trace.tb_frame.f_code.co_name, trace.tb_frame.f_locals)

    # Where a task is that does not end, only a tool from outside can say.


if __name__ == "__main__":
    main()
