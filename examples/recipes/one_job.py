"""One process for one job: start it, wait for it, get its result and its exit code; several different jobs at once."""

import math
import os

from manyhands import process_task


@process_task
def bits(number: int) -> int:
    """Return how many bits the factorial of a number has."""
    return math.factorial(number).bit_length()


@process_task
def primes(limit: int) -> int:
    """Return how many prime numbers there are below a limit."""
    return sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, limit))


@process_task
def age(birth: int) -> int:
    """Return somebody's age; fails for those who are not born yet."""
    if birth > 2026:
        raise ValueError(f"not born before {birth}")
    return 2026 - birth


# A call runs in a worker and waits: what it returns is its result, what it raises is raised.
print("bits:", bits(2_000))

# Different jobs at once: a future for each.
jobs = {"bits": bits.submit(3_000), "primes": primes.submit(20_000), "age": age.submit(1990)}
for name, job in jobs.items():
    print(f"{name}: {job.result()}")

# A process of its own, beside the pool: with an id and an exit code.
task = primes.start(10_000)
print(f"it runs elsewhere: {task.pid != os.getpid()}")
print(f"{task.name}: {task.result()}, exit code {task.exitcode}")

task = age.start(2090)
task.wait()
print(f"{task.name}: exit code {task.exitcode}")
try:
    task.result()
except ValueError as error:
    print(f"{type(error).__name__}: {error}")
