"""Calls submitted one at a time: futures, results as they are done, callbacks, and a wait that does not last for ever."""

import time
from concurrent.futures import as_completed

from manyhands import Failure, process_task

sizes: list[int] = []
failures: list[Failure] = []


@process_task(on_result=sizes.append, on_error_callback=failures.append)
def digits(number: str, base: int = 10) -> int:
    """Return how many binary digits a number has."""
    return int(number, base).bit_length()


@process_task
def pause(seconds: float) -> str:
    """Take some time."""
    time.sleep(seconds)
    return "awake"


# A future for each call; as_completed() and wait() take them as they take the standard library's.
futures = {digits.submit(number): number for number in ("7", "70", "seven", "7000")}
done = {futures[future]: future for future in as_completed(futures)}
for number in sorted(done):
    error = done[number].exception()
    print(f"{number}: {done[number].result() if error is None else type(error).__name__}")

# The callbacks have heard of each of them, once.
print("sizes:", sorted(sizes), "failures:", [failure.item for failure in failures])

# Wait no longer than that; the call itself goes on, and its result can be had later.
future = pause.submit(0.4)
try:
    future.result(timeout=0.05)
except TimeoutError:
    print("not yet")
print(future.result())

# Here the call is what ends. Nothing is left that sleeps on.
try:
    pause.options(timeout=0.1)(3600)
except TimeoutError as error:
    print(str(error).partition(",")[0])
