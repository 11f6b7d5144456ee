"""Take a census of Python source code: how much there is, how much is comment, how tangled its functions are.

Every source file of the standard library, or of a folder given as argument, is parsed with ``ast`` and
``tokenize``: once in a plain loop, once with ``.map``. The answers must be equal; both times are printed. A
file that does not parse is a row like any other, with the reason.

    python examples/census.py                       # the standard library of this interpreter
    python examples/census.py src --workers 2       # some other folder
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import heapq
import io
import os
import sys
import sysconfig
import time
import tokenize
import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from manyhands import cpu_count, parallel_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: How many of the largest packages and of the most complex functions are shown.
TOP = 10

#: Folders that hold somebody else's code, or none.
SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__"})

#: Each of these is one more way through a function.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension)

#: Tokens that stand for the layout of a line, not for something written on it.
LAYOUT = frozenset(
    {tokenize.ENCODING, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)

#: What reading and parsing a file may raise. A null byte is a ValueError up to Python 3.11, an unknown codec
#: may be a LookupError, and what nests too deeply ends in a RecursionError or a MemoryError.
UNPARSABLE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)


class Function(NamedTuple):
    """A function or method, and how many ways lead through it."""

    complexity: int
    name: str
    line: int


class Report(NamedTuple):
    """One row of the census: what is in one file, or why nobody can say."""

    lines: int = 0
    code: int = 0
    comments: int = 0
    functions: int = 0
    classes: int = 0
    complexity: int = 0
    most_complex: tuple[Function, ...] = ()
    problem: str = ""


@parallel_map
def survey(path: Path) -> Report:
    """Count what is in one source file. A file that cannot be read or parsed gives a report that says so."""
    try:
        source = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in somebody else's string is not our business
            tree = ast.parse(source)
            code, comments = count_lines(source)
    except UNPARSABLE as error:
        return Report(problem=describe(error))
    functions = list(find_functions(tree))
    return Report(
        lines=len(source.splitlines()),
        code=code,
        comments=comments,
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        complexity=sum(function.complexity for function in functions),
        most_complex=tuple(heapq.nlargest(TOP, functions)),
    )


def describe(error: Exception) -> str:
    """Say in one line why a file does not parse."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name} in line {error.lineno}: {error.msg}" if error.lineno else f"{name}: {error.msg}"
    if isinstance(error, OSError):
        return f"{name}: {error.strerror}"
    return f"{name}: {error}"


def count_lines(source: bytes) -> tuple[int, int]:
    """Return how many lines bear code (docstrings are code), and how many bear a comment and nothing else."""
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code), len(comments - code)


def find_functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method, however deeply nested, each with its own complexity."""
    # A stack of our own: code may nest deeper than Python's functions may call each other.
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{prefix}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    yield Function(cyclomatic_complexity(child), inner[:-1], child.lineno)
            stack.append((child, inner))


def cyclomatic_complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return one more than the number of decisions; what is defined inside a function counts for itself."""
    complexity = 1
    stack: list[ast.AST] = [*function.body]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, BRANCHES):
            complexity += 1
        if isinstance(node, ast.comprehension):
            complexity += len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            complexity += len(node.values) - 1
        elif isinstance(node, ast.match_case) and not is_wildcard(node):
            complexity += 1
        stack.extend(ast.iter_child_nodes(node))
    return complexity


def is_wildcard(case: ast.match_case) -> bool:
    """Tell whether a case takes whatever the others left, as an ``else`` does."""
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def find_sources(folder: Path) -> list[Path]:
    """Return the Python files below a folder, in an order that is the same every time."""
    found: list[Path] = []
    for directory, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in SKIPPED and not name.startswith(".")]
        found += [Path(directory, name) for name in files if name.endswith(".py")]
    return sorted(found)


def print_packages(reports: dict[str, Report]) -> None:
    """Print the totals of each of the largest packages, of the rest, and of everything."""
    packages: defaultdict[str, list[Report]] = defaultdict(list)
    for name, report in reports.items():
        packages[name.partition("/")[0]].append(report)
    by_size = sorted(packages, key=lambda name: (-sum(report.lines for report in packages[name]), name))
    rest = [report for name in by_size[TOP:] for report in packages[name]]
    print(f"{'':28}{'files':>7}{'lines':>10}{'code':>10}{'comment':>9}", end="")
    print(f"{'functions':>11}{'classes':>9}{'complexity':>12}{'unparsed':>10}")
    for name in by_size[:TOP]:
        print_totals(name, packages[name])
    if rest:
        print_totals(f"{len(by_size) - TOP} others", rest)
    print_totals("all", reports.values())


def print_totals(title: str, reports: Iterable[Report]) -> None:
    """Print one row: the sums over some files, and the mean complexity of their functions."""
    reports = list(reports)
    lines, code, comments, functions, classes, complexity = (
        sum(column) for column in zip(*(report[:6] for report in reports), strict=True)
    )
    mean = f"{complexity / functions:.1f}" if functions else "-"
    unparsed = sum(bool(report.problem) for report in reports)
    print(f"{title:<28.28}{len(reports):>7,}{lines:>10,}{code:>10,}{comments:>9,}", end="")
    print(f"{functions:>11,}{classes:>9,}{mean:>12}{unparsed or '-':>10}")


def print_most_complex(reports: dict[str, Report]) -> None:
    """Print the functions with the most ways through them, and where each one begins."""
    everywhere = ((function, name) for name, report in reports.items() for function in report.most_complex)
    top = heapq.nsmallest(TOP, everywhere, key=lambda pair: (-pair[0].complexity, pair[1], pair[0]))
    width = max((len(function.name) for function, _ in top), default=0)
    print(f"\nThe {TOP} most complex functions")
    for function, name in top:
        print(f"{function.complexity:>6}  {function.name:<{width}}  {name}:{function.line}")


def print_unparsed(reports: dict[str, Report]) -> None:
    """Print the files that do not parse, each with the reason."""
    problems = [(name, report.problem) for name, report in reports.items() if report.problem]
    if problems:
        print(f"\n{len(problems)} that do not parse")
        for name, problem in problems:
            print(f"  {name}\n      {problem}")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    default = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="default: %(default)s")
    parser.add_argument(
        "--workers", type=positive, default=cpu_count(), help="how many processes; default: %(default)s"
    )
    parser.add_argument("--limit", type=positive, help="take only the first so many files")
    arguments = parser.parse_args(argv)
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    return arguments


def positive(text: str) -> int:
    """Read a whole number that is at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the census both ways and print it; return 0 if both give the same answers."""
    arguments = parse_arguments(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a reason may quote what the terminal cannot show
    paths = find_sources(arguments.folder)[: arguments.limit]
    names = [path.relative_to(arguments.folder).as_posix() for path in paths]
    print(f"A census of {len(paths):,} files below {arguments.folder}\n", flush=True)
    if not paths:
        return 0
    for path in paths:
        with contextlib.suppress(OSError):
            path.read_bytes()  # so that neither run has to wait for a cold disk

    start = time.perf_counter()
    looped = [survey(path) for path in paths]
    loop_time = time.perf_counter() - start
    print(f"loop {loop_time:8.2f} s", flush=True)

    start = time.perf_counter()
    mapped = survey.options(max_workers=arguments.workers).map(paths)
    map_time = time.perf_counter() - start
    print(f".map {map_time:8.2f} s   workers: {arguments.workers}, their start included\n")

    reports = dict(zip(names, mapped, strict=True))
    print_packages(reports)
    print_most_complex(reports)
    print_unparsed(reports)

    different = [name for name, a, b in zip(names, looped, mapped, strict=True) if a != b]
    if different:
        print(f"\nThe answers DIFFER for {len(different):,} of {len(paths):,} files: {', '.join(different)}")
        return 1
    speedup = loop_time / map_time
    print(f"\nThe answers are equal for all {len(paths):,} files; .map was {speedup:.2f} times as fast.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
