"""Count the functions in the source files of a package, with four workers."""

import ast
import heapq
import sysconfig
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def count_functions(path: Path) -> int:
    """Return how many functions and methods a source file defines."""
    tree = ast.parse(path.read_bytes())
    return sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def main() -> None:
    package = Path(sysconfig.get_path("stdlib")) / "asyncio"
    paths = sorted(package.glob("*.py"))
    with ProcessPoolExecutor(max_workers=4) as pool:
        counts = list(pool.map(count_functions, paths, chunksize=2))

    print(f"{sum(counts)} functions in the {len(paths)} files of {package.name}, most of them in")
    for count, path in heapq.nlargest(3, zip(counts, paths, strict=True)):
        print(f"{count:5} {path.name}")


if __name__ == "__main__":
    main()
