"""What a function's results depend on, as far as its code shows, is noticed when it changes between two runs of a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FILES = {
    "main.py": """
import json, sys
from functools import lru_cache, partial
from math import hypot as distance
from dataclasses import dataclass
import settings
from lib import tools
from lib.tools import Box, from_lib
from manyhands import accumulator, parallel_map, shared_cache, shared_state
from manyhands.scheduling.fingerprint import fingerprint

NAMES = ["a", "b"]
RATES = {"eur": 1.0}
KINDS = {"x", "y", "z"}
MEMORY = {}
calls = []
box = Box(3)
halved = partial(divmod, 2)
scaled = partial(tools.scale, 3)
connection = open(__file__)

@dataclass
class Point:
    x: int = 1
    ORIGIN = [0, 0]
    def move(self): return self.x + 1

@shared_state
class Totals:
    n: int = accumulator(int)

totals = Totals()

@shared_cache
def remembered(x): return x + 11

@lru_cache
def known(x): return x + 12

@parallel_map
def mapped(x): return x + 13

def looked_up(x):
    if x not in MEMORY: MEMORY[x] = x
    return MEMORY[x]

def around(table, point):
    def f(x, default=box, *, kind=Point):
        import late
        from lib import later
        from lib.latest import Late as L
        from math import floor
        calls.append(x)
        totals.n += 1
        connection.name
        def inside():
            return tools.scale(x), from_lib(x), settings.DEEP["a"], settings.nested.LIMIT
        return (
            NAMES, RATES, KINDS, MEMORY.get(1), looked_up(x), box.size(), halved(x), scaled(x), distance(1, x), Point(x).move(),
            table, point.move(), late.value(x), later.OFFSET, L().go(), remembered(x), known(x), mapped(x), inside(), floor(x),
        )
    return f

f = around({"k": [1, 2]}, Point(5))
if __name__ == "__main__":
    before = fingerprint(f, {})
    calls.append(1)
    MEMORY[5] = 5
    assert fingerprint(f, {}) == before
    print(json.dumps(before))
""",
    "settings.py": 'import nested\nDEEP = {"a": [1]}\nUNUSED = 1\n',
    "nested.py": "LIMIT = 7\n",
    "late.py": "STEP = [1]\ndef value(x): return x + STEP[0]\n",
    "lib/__init__.py": "",
    "lib/tools.py": """
FACTOR = [2]
def scale(x, y=1): return x * FACTOR[0]
def from_lib(x): return helper(x)
def helper(x): return x
class Base:
    def size(self): return self.n
class Box(Base):
    def __init__(self, n): self.n = n
""",
    "lib/later.py": "OFFSET = {1: 2}\nOTHER = 3\n",
    "lib/latest.py": "class Late:\n    def go(self): return 1\n",
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return taken(tmp_path_factory.mktemp("first"))


def taken(folder: Path, file: str = "", old: str = "", new: str = "") -> dict[str, str]:
    """What the program says of its function, after a change in one of its files."""
    import subprocess
    import sys

    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        assert name != file or old in text
        path.write_text(text.replace(old, new) if name == file else text)
    ran = subprocess.run(
        [sys.executable, str(folder / "main.py")], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", '["a", "b"]', '["a", "c"]'),
        ("main.py", '{"eur": 1.0}', '{"eur": 1.1}'),
        ("main.py", '{"x", "y", "z"}', '{"x", "y"}'),
        ("main.py", "box = Box(3)", "box = Box(4)"),
        ("main.py", "partial(divmod, 2)", "partial(divmod, 3)"),
        ("main.py", "partial(tools.scale, 3)", "partial(tools.scale, 4)"),
        ("main.py", "hypot as distance", "dist as distance"),
        ("main.py", "self.x + 1", "self.x + 2"),
        ("main.py", "x: int = 1", "x: int = 2"),
        ("main.py", "[0, 0]", "[0, 1]"),
        ("main.py", "[1, 2]}", "[1, 3]}"),
        ("main.py", "Point(5)", "Point(6)"),
        ("main.py", "x + 11", "x + 21"),
        ("main.py", "x + 12", "x + 22"),
        ("main.py", "x + 13", "x + 23"),
        ("settings.py", "[1]", "[2]"),
        ("nested.py", "7", "8"),
        ("late.py", "[1]", "[2]"),
        ("late.py", "x + STEP", "x - STEP"),
        ("lib/tools.py", "[2]", "[3]"),
        ("lib/tools.py", "y=1", "y=2"),
        ("lib/tools.py", "return x\n", "return -x\n"),
        ("lib/tools.py", "return self.n", "return -self.n"),
        ("lib/later.py", "{1: 2}", "{1: 3}"),
        ("lib/latest.py", "return 1", "return 2"),
    ],
)
def test_what_a_result_depends_on_is_noticed_when_it_changes(
    file: str, old: str, new: str, first: dict[str, str], tmp_path: Path
) -> None:
    assert taken(tmp_path, file, old, new) != first


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "", ""),
        ("main.py", "import json, sys", "import json, sys\n\n\n# moved"),
        ("main.py", "calls = []", "calls = [1, 2]"),
        ("main.py", "MEMORY = {}", "MEMORY = {1: 1}"),
        ("settings.py", "UNUSED = 1", "UNUSED = 2"),
        ("lib/later.py", "OTHER = 3", "OTHER = 4"),
    ],
)
def test_what_it_does_not_depend_on_may_change(
    file: str, old: str, new: str, first: dict[str, str], tmp_path: Path
) -> None:
    assert taken(tmp_path, file, old, new) == first
