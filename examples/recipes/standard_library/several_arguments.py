"""How small do source files get? One function of several arguments, called in every way there is."""

import multiprocessing
import sysconfig
import zlib
from functools import partial
from itertools import cycle, product
from pathlib import Path


def compressed(path: Path, level: int, *, window: int = 15) -> int:
    """Return how many bytes are left of a file."""
    squeeze = zlib.compressobj(level, wbits=window)
    return len(squeeze.compress(path.read_bytes()) + squeeze.flush())


def level_first(level: int, path: Path) -> int:
    return compressed(path, level)


def main() -> None:
    paths = sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py"))
    levels = [1, 6, 9]
    with multiprocessing.Pool() as pool:
        # Tuples of arguments: Pool has starmap(), ProcessPoolExecutor has not.
        print("each with each    ", pool.starmap(compressed, product(paths, levels)))

        # Several iterables: ProcessPoolExecutor takes them, Pool does not.
        print("in step           ", pool.starmap(compressed, zip(paths, cycle(levels), strict=False)))

        # Neither takes keywords: partial does, and is pickled again for every chunk.
        print("constants         ", pool.map(partial(compressed, level=9, window=9), paths))
        print("partial           ", pool.map(partial(partial(compressed, window=9), level=9), paths))

        # Neither takes a lambda: it needs a name at the top of the module.
        print("lambda            ", pool.starmap(level_first, zip(levels, paths, strict=False)))


if __name__ == "__main__":
    main()
