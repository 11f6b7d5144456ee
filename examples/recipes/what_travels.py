"""What can be sent to a worker and what cannot: each thing is sent once, and what comes of it is printed."""

import io
import socket
import sys
import sysconfig
import threading
from pathlib import Path

from manyhands import UnpicklableError, parallel_map


@parallel_map
def kind(thing: object) -> str:
    """Return what has arrived."""
    return type(thing).__name__


class Connection:
    """Holds something that cannot travel, and says how to do without it: it connects again where it arrives."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = threading.Lock()

    def __getstate__(self) -> str:
        return self.address

    def __setstate__(self, address: str) -> None:
        self.__init__(address)


def make_local_class() -> object:
    class Local:
        pass

    return Local()


def make_function(lock: object) -> object:
    return lambda: lock


source = Path(sysconfig.get_path("stdlib")) / "this.py"
outer = 3
with source.open() as file, socket.socket() as sock:
    things = {
        "a lambda": lambda x: x * outer,
        "an object of a local class": make_local_class(),
        "a module": sys,
        "a file in memory": io.StringIO("text"),
        "an object that leaves its lock behind": Connection("localhost"),
        "an open file": file,
        "a socket": sock,
        "a lock": threading.Lock(),
        "a generator": (line for line in file),
        "a lock inside a list inside a dictionary": {"jobs": [{"lock": threading.Lock()}]},
        "a function that uses a lock": make_function(threading.Lock()),
    }
    for name, thing in things.items():
        error = kind.submit(thing).exception()
        if error is None:
            print(f"{name}: works, arrives as {kind.submit(thing).result()}")
        else:
            assert isinstance(error, UnpicklableError)
            print(f"{name}: {error}\n")
