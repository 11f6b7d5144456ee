"""One process for one job: start it, wait for it, get its result and its exit code; several different jobs at once."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection


def bits(number: int) -> int:
    """Return how many bits the factorial of a number has."""
    return math.factorial(number).bit_length()


def primes(limit: int) -> int:
    """Return how many prime numbers there are below a limit."""
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, limit))


def age(birth: int) -> int:
    """Return somebody's age; fails for those who are not born yet."""
    if birth > 2026:
        raise ValueError(f"not born before {birth}")
    return 2026 - birth


def run(there: Connection, function: Callable[[int], int], argument: int) -> None:
    """Send back what a function returns or raises: a Process has an exit code, and no result."""
    try:
        answer: int | Exception = function(argument)
    except Exception as error:
        there.send(error)
        raise SystemExit(1) from error
    there.send(answer)


def start(function: Callable[[int], int], argument: int) -> tuple[Process, Connection]:
    """Start a process for one call; it ends with the program, as it is a daemon."""
    here, there = Pipe(duplex=False)
    process = Process(target=run, args=(there, function, argument), name=function.__name__, daemon=True)
    process.start()
    there.close()  # else recv() waits for ever when the process dies
    return process, here


def main() -> None:
    with ProcessPoolExecutor() as pool:
        print("bits:", pool.submit(bits, 2_000).result())
        jobs = {
            "bits": pool.submit(bits, 3_000),
            "primes": pool.submit(primes, 20_000),
            "age": pool.submit(age, 1990),
        }
        for name, job in jobs.items():
            print(f"{name}: {job.result()}")

    process, answer = start(primes, 10_000)
    print(f"it runs elsewhere: {process.pid != os.getpid()}")
    result = answer.recv()  # before join(): a large result is not gone before somebody takes it
    process.join()
    print(f"{process.name}: {result}, exit code {process.exitcode}")

    process, answer = start(age, 2090)
    result = answer.recv()
    process.join()
    print(f"{process.name}: exit code {process.exitcode}")
    print(f"{type(result).__name__}: {result}")


if __name__ == "__main__":
    main()
