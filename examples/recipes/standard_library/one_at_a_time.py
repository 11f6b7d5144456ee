"""Calls submitted one at a time: futures, results as they are done, callbacks, and a wait that does not last for ever."""

import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed, wait

sizes: list[int] = []
failures: list[BaseException] = []


def digits(number: str, base: int = 10) -> int:
    """Return how many binary digits a number has."""
    return int(number, base).bit_length()


def pause(seconds: float) -> str:
    """Take some time."""
    time.sleep(seconds)
    return "awake"


def heard(future: Future[int]) -> None:
    """Sort results from failures: there is one callback for both, and it does not know the argument."""
    error = future.exception()
    if error is None:
        sizes.append(future.result())
    else:
        failures.append(error)


def main() -> None:
    with ProcessPoolExecutor(2) as pool:
        futures = {pool.submit(digits, number): number for number in ("7", "70", "seven", "7000")}
        for future in futures:
            future.add_done_callback(heard)
        done = {futures[future]: future for future in as_completed(futures)}
        for number in sorted(done):
            error = done[number].exception()
            print(f"{number}: {done[number].result() if error is None else type(error).__name__}")

        sleeping = pool.submit(pause, 0.4)
        try:
            sleeping.result(timeout=0.05)
        except TimeoutError:
            print("not yet")
        print(sleeping.result())

        # It is only the wait that has a limit. The worker sleeps on, and leaving the block waits for it.
        sleeping = pool.submit(pause, 0.3)
        print("given up, running:", bool(wait([sleeping], timeout=0.1).not_done), sleeping.running())


if __name__ == "__main__":
    main()
