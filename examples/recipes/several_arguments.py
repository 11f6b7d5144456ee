"""How small do source files get? One function of several arguments, called in every way there is."""

import sysconfig
import zlib
from functools import partial
from itertools import cycle, product
from pathlib import Path

from manyhands import parallel_map


@parallel_map
def compressed(path: Path, level: int, *, window: int = 15) -> int:
    """Return how many bytes are left of a file."""
    squeeze = zlib.compressobj(level, wbits=window)
    return len(squeeze.compress(path.read_bytes()) + squeeze.flush())


paths = sorted((Path(sysconfig.get_path("stdlib")) / "json").glob("*.py"))
levels = [1, 6, 9]

# Every path with every level: tuples of arguments.
sizes = compressed.starmap(product(paths, levels))
print("each with each    ", sizes)

# The first path with the first level, and so on: one iterable for each argument, as with the builtin map().
print("in step           ", compressed.map(paths, cycle(levels)))

# The same value for every call: a keyword.
print("constants         ", compressed.map(paths, level=9, window=9))

# A function with some of its arguments filled in, or one that puts them in order.
print("partial           ", parallel_map(partial(compressed, window=9)).map(paths, level=9))
print("lambda            ", parallel_map(lambda level, path: compressed(path, level)).map(levels, paths))
