"""Arrays that workers change in place: each its own part, or all the same part, one after the other."""

import sysconfig
from multiprocessing import Lock, Pool
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

state: dict[str, Any] = {}


def frequencies(path: Path) -> Any:
    """How often each byte occurs in a file."""
    return np.bincount(np.frombuffer(path.read_bytes(), np.uint8), minlength=256)


def set_up(name: str, shape: tuple[int, ...], lock: Any) -> None:
    """In each worker: open the memory by its name; shape and type have to be told, too."""
    state["memory"] = SharedMemory(name)  # kept, or the array would point to nothing
    state["array"] = np.ndarray(shape, "int64", state["memory"].buf)
    state["lock"] = lock  # cannot be an argument of a task


def fill(number: int, path: Path) -> None:
    """Change a part that is nobody else's: no lock is needed."""
    state["array"][number] = frequencies(path)


def add(path: Path) -> None:
    """Change what all change: reading, adding and writing are three steps, so nobody may come in between."""
    found = frequencies(path)
    with state["lock"]:
        state["array"][:] += found


def main() -> None:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    shape = (len(paths), 256)
    memory = SharedMemory(create=True, size=8 * shape[0] * shape[1])
    try:
        table: Any = np.ndarray(shape, "int64", memory.buf)
        with Pool(2, set_up, (memory.name, shape, None)) as pool:
            pool.starmap(fill, enumerate(paths))
        print("bytes, by file:", int(table.sum()))
        print("lines:", int(table[:, ord("\n")].sum()))
        del table  # or close() raises: somebody has a pointer to it
    finally:
        memory.close()
        memory.unlink()  # without this it stays when the program has ended; with kill -9 it stays in any case
    print("after the block: taken away")

    memory = SharedMemory(create=True, size=8 * 256)
    try:
        total: Any = np.ndarray((256,), "int64", memory.buf)
        total[:] = 0
        with Pool(2, set_up, (memory.name, (256,), Lock())) as pool:
            pool.map(add, paths)
        print("bytes, all together:", int(total.sum()))
        del total
    finally:
        memory.close()
        memory.unlink()


if __name__ == "__main__":
    main()
