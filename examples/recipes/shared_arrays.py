"""Arrays that workers change in place: each its own part, or all the same part, one after the other."""

import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

from manyhands import SharedStateError, parallel_map, shared_array
from manyhands.shared import Array


def frequencies(path: Path) -> Any:
    """How often each byte occurs in a file."""
    return np.bincount(np.frombuffer(path.read_bytes(), np.uint8), minlength=256)


@parallel_map(max_workers=2)
def fill(row: Any, path: Path) -> None:
    """Change a part that is nobody else's: no lock is needed."""
    row[:] = frequencies(path)


@parallel_map(max_workers=2)
def add(path: Path, total: Any) -> None:
    """Change what all change: reading, adding and writing are three steps, so nobody may come in between."""
    found = frequencies(path)
    with total.lock:
        total += found


@parallel_map(max_workers=2)
def add_carelessly(path: Path, total: Any) -> None:
    """The same without the lock: what another adds in between is lost, now and then."""
    total += frequencies(path)


paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))

# The array is there inside of the block. Its rows are arrays in the same memory, and travel as addresses.
with shared_array((len(paths), 256), "int64") as table:
    fill.map(table, paths)
    print("bytes, by file:", int(table.sum()))
    print("lines:", int(table[:, ord("\n")].sum()))

# After it nobody can open it any more.
try:
    fill.submit(table[0], paths[0]).result()
except SharedStateError:
    print("after the block: taken away")

# One that goes when nobody has it any more.
total = Array("int64", 256)
add.map(paths, total=total)
print("bytes, all together:", int(total.sum()))

careless = Array("int64", 256)
add_carelessly.map(paths, total=careless)
print("measured: without the lock,", int((total - careless).sum()), "bytes were lost")
