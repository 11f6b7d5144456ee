"""Count the functions in the source files of a package, with four workers."""

import ast
import heapq
import sysconfig
from pathlib import Path

from manyhands import parallel_map


@parallel_map(max_workers=4)
def count_functions(path: Path) -> int:
    """Return how many functions and methods a source file defines."""
    tree = ast.parse(path.read_bytes())
    return sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


package = Path(sysconfig.get_path("stdlib")) / "asyncio"
paths = sorted(package.glob("*.py"))
counts = count_functions.map(paths)

print(f"{sum(counts)} functions in the {len(paths)} files of {package.name}, most of them in")
for count, path in heapq.nlargest(3, zip(counts, paths, strict=True)):
    print(f"{count:5} {path.name}")
