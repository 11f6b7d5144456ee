"""Functions of ``__main__`` work wherever it comes from, and without a guard: a file, ``-c``, standard input, a notebook."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import Program, plain_environment

METHODS = ("template", "spawn", "fork") if hasattr(os, "fork") else ("spawn",)

#: Everything that __main__ may hold and a task may use. Each line of output is a fact about the results.
SOURCE = """
import enum, os, sys
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from manyhands import parallel_map

print("begun")                    # workers must not run this again
METHOD = sys.argv[1] if len(sys.argv) > 1 else None
scale = 2
options = dict(max_workers=2, max_tasks_per_child=10_000, start_method=METHOD)

def helper(x):
    return x * scale

@parallel_map(**options)
def work(x, *, plus=0):
    return os.getpid(), helper(x) + plus

class Color(enum.Enum):
    RED = 1
    BLUE = 2

Pair = namedtuple("Pair", "one two")

class OddError(Exception):
    def __init__(self, x, why):
        super().__init__(x)
        self.why = why

@dataclass
class Thing:
    x: int

    @parallel_map(**options)
    def times(self, y):
        return self.x * y

    @parallel_map(**options)
    @classmethod
    def make(cls, x):
        return cls(x)

def results(function, *iterables, **constants):
    return parallel_map(function, **options).map(*iterables, **constants)

found = work.map(range(5), plus=1)
print("values", [value for _, value in found])
print("elsewhere", os.getpid() not in {pid for pid, _ in found})
scale = 10
print("changed global", [value for _, value in work.map(range(3))])
print("lambda", results(lambda x: helper(x) + 1, [1, 2]))
print("partial", results(partial(pow, 2), [3, 4]))
print("method", Thing(3).times.map([1, 2]))
print("class method", Thing.make.map([1, 2]) == [Thing(1), Thing(2)])
print("class", results(Thing, [1, 2]) == [Thing(1), Thing(2)])
print("arguments", results(lambda thing: thing.x, [Thing(5), Thing(6)]))
print("enum", results(lambda color: color is Color.RED, list(Color)), results(Color, [2])[0] is Color.BLUE)
print("named tuple", results(lambda pair: Pair(pair.two, pair.one), [Pair(1, 2)]) == [Pair(2, 1)])

def fail(x):
    if x == 2:
        raise OddError(x, why="even")
    return x

try:
    results(fail, range(4))
except OddError as error:
    print("error", error.args, error.why, error.__notes__[0].split(",")[0])

def outer(n):
    def inner(x):
        return inner(x - 1) + 1 if x else 0
    return work.map(range(n))[1][1], inner(3)

print("nested", results(outer, [2, 3]))

model = None

def load(name):
    global model
    model = name

def predict(x):
    return model, x

print("initializer", parallel_map(predict, max_workers=2, start_method=METHOD, initializer=load, initargs=("m",)).map([1, 2]))
print("submit", work.submit(3).result()[1])
print("check", bool(parallel_map(helper, start_method=METHOD).check([1, 2])), bool(work.check([1, 2])))
print("ended")
"""

EXPECTED = """
begun
values [1, 3, 5, 7, 9]
elsewhere True
changed global [0, 10, 20]
lambda [11, 21]
partial [8, 16]
method [3, 6]
class method True
class True
arguments [5, 6]
enum [True, False] True
named tuple True
error (2,) even manyhands: item 2: fail(2)
nested [(10, 3), (10, 3)]
initializer [('m', 1), ('m', 2)]
submit 30
check True False
ended
""".strip()


@pytest.mark.parametrize("method", METHODS)
def test_a_file(run_program: Program, method: str) -> None:
    ran = run_program(SOURCE, args=(method,))
    assert (ran.out.strip(), ran.err, ran.code) == (EXPECTED, "", 0)


@pytest.mark.parametrize("how", ["-c", "stdin", "module"])
def test_other_ways_to_run_a_program(run_program: Program, how: str) -> None:
    ran = run_program(SOURCE, how=how)
    assert (ran.out.strip(), ran.err, ran.code) == (EXPECTED, "", 0)


def test_a_program_with_the_guard(run_program: Program) -> None:
    ran = run_program("if __name__ == '__main__':\n" + textwrap.indent(SOURCE, "    "))
    assert (ran.out.strip(), ran.err, ran.code) == (EXPECTED, "", 0)


def test_a_program_in_small_pieces_as_at_a_prompt(run_program: Program) -> None:
    """Each statement is compiled and run by itself in ``__main__``, and has no file."""
    prompt = f"""
        import ast, sys
        source = {SOURCE!r}
        sys.argv[1:] = []
        for number, statement in enumerate(ast.parse(source).body):
            code = compile(ast.Module([statement], []), f"<input-{{number}}>", "exec")
            exec(code, sys.modules["__main__"].__dict__)
        """
    ran = run_program(prompt)
    assert (ran.out.strip(), ran.err, ran.code) == (EXPECTED, "", 0)


def test_a_folder_of_modules_beside_the_program(run_program: Program, tmp_path: Path) -> None:
    """A module beside the program is found by workers, with its decorated functions and its run-time settings."""
    folder = tmp_path / "run1"
    source = f"""
        import pathlib, sys
        pathlib.Path("beside.py").write_text({BESIDE!r})
        import beside
        beside.factor = 5
        print(beside.work.map([1, 2]), beside.work.options(chunksize=1).map([1, 2]))
        print(beside.predict.options(initializer=beside.load, initargs=("m",)).map([1, 2]))
        """
    ran = run_program(source)
    assert folder.exists()
    assert (ran.out, ran.err) == ("[5, 10] [5, 10]\n[('m', 1), ('m', 2)]\n", "")


BESIDE = """
from manyhands import parallel_map

factor = 3
model = None

@parallel_map(max_workers=2, max_tasks_per_child=10_000)
def work(x):
    return x * factor

def load(name):
    global model
    model = name

@parallel_map(max_workers=2)
def predict(x):
    return model, x
"""


def run(source: str, folder: Path, **environment: str) -> str:
    """Run a program that is not ours to check for what it leaves."""
    (folder / "driver.py").write_text(textwrap.dedent(source))
    ran = subprocess.run(
        [sys.executable, "driver.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **plain_environment(),
            "IPYTHONDIR": str(folder),
            "JUPYTER_RUNTIME_DIR": str(folder),
            **environment,
        },
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


CELLS = re.split(r"\n\n(?=\S)", SOURCE.replace("sys.argv[1] if len(sys.argv) > 1 else None", "None"))


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not installed")
def test_cells_of_ipython(tmp_path: Path) -> None:
    driver = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in {CELLS!r}:
            shell.run_cell(cell).raise_error()
        """
    assert run(driver, tmp_path).strip() == EXPECTED


@pytest.mark.skipif(importlib.util.find_spec("ipykernel") is None, reason="ipykernel is not installed")
def test_cells_of_a_notebook(tmp_path: Path) -> None:
    """In a real kernel, which has threads of its own, and an event loop that runs."""
    driver = f"""
        from jupyter_client.manager import start_new_kernel
        manager, client = start_new_kernel()
        written = []

        def write(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                written.append(content["text"])

        cells = {CELLS!r} + ["print('awaited', await parallel_map(helper).amap([1, 2]))"]
        try:
            for cell in cells:
                reply = client.execute_interactive(cell, output_hook=write, timeout=60)
                assert reply["content"]["status"] == "ok", reply["content"]
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        print("".join(written))
        """
    assert run(driver, tmp_path).strip() == EXPECTED + "\nawaited [10, 20]"
