"""Tasks that crash, hang and eat the memory: a process for each task, since a pool does not survive them."""

import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from typing import Any


def task(what: str) -> str:
    """Do what it says."""
    if what == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave":
        os._exit(3)
    if what == "hang":
        time.sleep(3600)
    if what == "spin":
        while True:
            pass
    if what == "eat":
        return bytearray(4 * 10**9).hex()
    return what


def flaky(path: str) -> str:
    """Crash twice."""
    with open(path, "a+") as file:
        file.write("tried\n")
        file.flush()
        file.seek(0)
        tries = len(file.readlines())
    if tries < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"done after {tries} tries"


def limited(there: Connection, function: Callable[..., Any], argument: Any, memory: int) -> None:
    """Run a task with so much memory, and send back what comes of it."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        there.send((function(argument), None))
    except BaseException as error:
        there.send((None, error))


def attempt(function: Callable[..., Any], argument: Any, timeout: float, memory: int = 10**9) -> Any:
    """Run one task in a process of its own, and return its result; or raise."""
    here, there = Pipe(duplex=False)
    process = Process(target=limited, args=(there, function, argument, memory))
    process.start()
    there.close()
    try:
        if not here.poll(timeout):  # it begins with the start of the process, which takes its time
            raise TimeoutError(f"not done after {timeout} s")  # and where was it?
        try:
            result, error = here.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"exit code {process.exitcode}") from None
        if error is not None:
            raise error
        return result
    finally:
        process.kill()
        process.join()
        here.close()


def main() -> None:
    jobs = ["one", "crash", "two", "leave", "hang", "three", "spin", "eat", "four"]

    # The pool is lost with the first that crashes, and "two" and "three" with it.
    with ProcessPoolExecutor(2) as pool:
        futures = [pool.submit(task, job) for job in jobs[:3]]
        broken = [future for future in futures if isinstance(future.exception(), BrokenProcessPool)]
    print("lost with the pool, the culprit among them:", len(broken) >= 1)

    done, failed = [], {}
    for (
        job
    ) in jobs:  # one after the other; for several at a time one needs threads, or a loop over all the pipes
        try:
            done.append(attempt(task, job, timeout=0.5))
        except MemoryError as error:
            failed[job] = type(error).__name__
        except (TimeoutError, RuntimeError) as error:
            failed[job] = str(error)
    print("done:", done)
    for job, what in failed.items():
        print(f"{job}: {what}")

    with tempfile.TemporaryDirectory() as folder:
        for pause in (0.01, 0.02, 0.04, 0.08, 0.16, 0):
            try:
                print(attempt(flaky, os.path.join(folder, "tries"), timeout=5.0))
                break
            except RuntimeError:
                time.sleep(pause)


if __name__ == "__main__":
    main()
