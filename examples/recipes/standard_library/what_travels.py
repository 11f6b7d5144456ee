"""What can be sent to a worker and what cannot: each thing is sent once, and what comes of it is printed."""

import io
import socket
import sys
import sysconfig
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def kind(thing: object) -> str:
    """Return what has arrived."""
    return type(thing).__name__


def make_local_class() -> object:
    class Local:
        pass

    return Local()


def make_function(lock: object) -> object:
    return lambda: lock


def main() -> None:
    source = Path(sysconfig.get_path("stdlib")) / "this.py"
    outer = 3
    with ProcessPoolExecutor(1) as pool, source.open() as file, socket.socket() as sock:
        things = {
            "a lambda": lambda x: x * outer,
            "an object of a local class": make_local_class(),
            "a module": sys,
            "a file in memory": io.StringIO("text"),
            "an open file": file,
            "a socket": sock,
            "a lock": threading.Lock(),
            "a generator": (line for line in file),
            "a lock inside a list inside a dictionary": {"jobs": [{"lock": threading.Lock()}]},
            "a function that uses a lock": make_function(threading.Lock()),
        }
        for name, thing in things.items():
            error = pool.submit(kind, thing).exception()
            print(f"{name}: {'works' if error is None else error}")


if __name__ == "__main__":
    main()
