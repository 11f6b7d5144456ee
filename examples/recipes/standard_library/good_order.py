"""A worker that runs for long is asked to stop, waited for, then terminated, then killed; and Ctrl-C."""

import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import Event, Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as EventType


def obedient(stop: EventType, answer: Connection) -> None:
    """Work until it is asked to stop, and leave in good order."""
    rounds = 0
    while not stop.wait(0.01):
        rounds += 1
    answer.send("all is put away")


def busy() -> None:
    """Never ask whether it is to stop."""
    time.sleep(3600)


def deaf(channel: Connection) -> None:
    """Not even listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel.send("ready")
    time.sleep(3600)


def end(process: Process, stop: EventType | None, grace: float) -> str:
    """Ask a process to stop, wait, terminate it, wait, kill it; return what it took."""
    if stop is not None:
        stop.set()
    process.join(grace)
    if process.exitcode is not None:
        return "stopped"
    process.terminate()  # if it holds a lock or writes to a queue this moment, nobody can use these any more
    process.join(2.0)
    if process.exitcode is not None:
        return "terminated"
    process.kill()
    process.join()
    return "killed"


def slowly(number: int) -> int:
    """Take a while, and the longer the later."""
    time.sleep(0.01 if number <= 3 else 0.2)
    return number


def main() -> None:
    stop, (here, there) = Event(), Pipe(duplex=False)
    process = Process(target=obedient, args=(stop, there))
    process.start()
    print("obedient:", end(process, stop, 5.0), process.exitcode, here.recv())
    process = Process(target=busy, daemon=True)
    process.start()
    print("busy:", end(process, None, 0.1), process.exitcode)

    process = Process(target=deaf, args=(there,), daemon=True)
    process.start()
    print("deaf:", here.recv())
    process.terminate()
    process.join(0.2)
    if process.exitcode is None:
        print("deaf: has not heard it")
        process.kill()
    process.join()
    print("deaf:", process.exitcode)

    stop.clear()
    process = Process(target=obedient, args=(stop, there))
    process.start()
    try:
        print("running:", process.is_alive())
    finally:
        end(process, stop, 5.0)
    print("left:", here.recv())

    # On Ctrl-C the pool waits for what runs and what it has queued. A call that takes a minute, takes a minute.
    finished: dict[int, int] = {}
    pool = ProcessPoolExecutor(1)
    futures = {pool.submit(slowly, number): number - 1 for number in range(1, 100)}
    try:
        for future in as_completed(futures):
            finished[futures[future]] = future.result()
            if future.result() == 3:
                signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("Ctrl-C; done so far:", finished)
    finally:
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
