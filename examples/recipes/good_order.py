"""A worker that runs for long is asked to stop, waited for, then terminated, then killed; and Ctrl-C."""

import signal
import time

from manyhands import parallel_map, process_task


@process_task
def obedient(stop) -> str:
    """Work until it is asked to stop, and leave in good order."""
    rounds = 0
    while not stop.wait(0.01):
        rounds += 1
    return "all is put away"


@process_task
def busy() -> None:
    """Never ask whether it is to stop."""
    time.sleep(3600)


@process_task
def deaf(channel) -> None:
    """Not even listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel.send("ready")
    time.sleep(3600)


# stop() asks, waits, terminates, waits, kills; and says what it took.
task = obedient.start()
print("obedient:", task.stop(), task.exitcode, task.result())
task = busy.start()
print("busy:", task.stop(grace=0.1), task.exitcode)

# The same by hand, each step with a wait of one's own.
task = deaf.start()
print("deaf:", task.channel.receive())
task.terminate()
if not task.wait(0.2):
    print("deaf: has not heard it")
    task.kill()
task.wait()
print("deaf:", task.exitcode)

# As a context manager: whatever happens inside, it is asked to stop at the end.
with obedient.start() as task:
    print("running:", not task.done())
print("left:", task.result())


# Ctrl-C ends the call at once, wherever it is. What was done by then is not lost.
def interrupt(result: int) -> None:
    """Press Ctrl-C when three tasks are done."""
    if result == 3:
        signal.raise_signal(signal.SIGINT)


@parallel_map(max_workers=1, chunksize=1, timeout=60, on_result=interrupt)
def slowly(number: int) -> int:
    """Take a while, and the longer the later."""
    time.sleep(0.01 if number <= 3 else 60)
    return number


try:
    slowly.map(range(1, 100))
except KeyboardInterrupt as interrupt:
    print("Ctrl-C; done so far:", interrupt.partial)
