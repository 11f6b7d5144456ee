"""How many workers are right here? Ask, then measure: the same work with one worker, with all cores, and with more."""

import ast
import os
import sysconfig
import time
from pathlib import Path

from manyhands import cpu_count, parallel_map


@parallel_map
def count_nodes(path: Path) -> int:
    """Return how many nodes the syntax tree of a source file has."""
    return sum(1 for _ in ast.walk(ast.parse(path.read_bytes())))


print(f"cores: {os.cpu_count()} in the machine, {cpu_count()} for this process")

paths = sorted((Path(sysconfig.get_path("stdlib")) / "asyncio").glob("*.py"))
for workers in (1, cpu_count(), 4 * cpu_count()):
    counting = count_nodes.options(max_workers=workers)
    counting.map(paths)  # starts the workers, so that the second run shows the work alone
    start = time.perf_counter()
    nodes = sum(counting.map(paths))
    print(f"measured: {workers:3} workers, {time.perf_counter() - start:.3f} s for {nodes} nodes")
