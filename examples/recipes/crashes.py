"""Tasks that crash, hang and eat the memory: each is a failure of its own, the others are done, and nothing is left."""

import os
import signal
import sys
import tempfile
import time

from manyhands import TaskTimeoutError, WorkerCrashedError, parallel_map, process_task


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


jobs = ["one", "crash", "two", "leave", "hang", "three", "spin", "eat", "four"]

doing = parallel_map(task, timeout=0.5, memory_limit="1 GB", on_error="collect")
results = doing.map(jobs)
print("done:", results.values)
for failure in results.errors:
    error = failure.exception
    if isinstance(error, WorkerCrashedError):
        print(f"{failure.item}: exit code {error.exitcode}")
    elif isinstance(error, TaskTimeoutError):
        print(f"{failure.item}: not done after {error.limit} s")
        if sys.platform == "linux":  # where the error says where the worker was
            print(f"measured: {error.stack.splitlines()[1].strip()}")
    else:
        print(f"{failure.item}: {type(error).__name__}")

# A limit for the whole call. What is done by then is there.
waiting = parallel_map(time.sleep, deadline=0.8, on_error="collect", max_workers=2)
results = waiting.map([0.01] * 4 + [3600])
print("in time:", len(results.values), "too late:", [failure.item for failure in results.errors])


# What fails by chance is worth another try: how often, and for which exceptions, is the caller's to say.
@process_task(retries=5, retry_on=WorkerCrashedError, backoff=0.01)
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


with tempfile.TemporaryDirectory() as folder:
    print(flaky(os.path.join(folder, "tries")))
