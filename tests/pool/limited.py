"""Tasks that last too long or want too much, for ``test_limits``; a worker that looks one up does not load pytest."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def block(how: str) -> str:
    """Keep the worker busy for ever, one way or another."""
    if how == "sleep":
        time.sleep(3600)
    elif how == "spin":
        while True:
            pass
    elif how == "c code that holds the GIL":
        ctypes.PyDLL(None).sleep(3600)
    elif how == "a system call":
        os.read(os.pipe()[0], 1)
    elif how == "stubborn":
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                continue
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(3600)
    elif how == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "a lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    return how


def slow_in_the_middle(number: int) -> int:
    if number in {4, 15}:
        time.sleep(3600)
    return number


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def note_and_block(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")
    if Path(path).name in {"3", "7"}:
        time.sleep(3600)


def fail_once(path: str, how: str) -> int:
    with open(path, "a") as file:
        file.write("x")
        calls = file.tell()
    if calls == 1:
        if how == "sleep":
            time.sleep(3600)
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError(how)
    return calls


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def allocate(size: int) -> int:
    return len(bytearray(size))


def hoard(everything: bool) -> int:
    held = []
    while everything:
        held.append(bytearray(1 << 20))
    return os.getpid()


def outer(_: int) -> list[Any]:
    found = subprocess.run([sys.executable, "-c", "print('ok')"], capture_output=True, text=True, check=True)
    return [found.stdout.strip()]


def spin(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds
