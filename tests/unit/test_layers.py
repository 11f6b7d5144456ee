"""Imports point downwards only.

The table below is the architecture: a module may import from the layers under its own, and from siblings in
its own layer as long as these do not come round to it again. Imports inside functions count as well: they are
dependencies all the same. Those under ``TYPE_CHECKING`` do not: they are gone when the program runs.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: From the top to the bottom. A name stands for a module, or for a package and all that is in it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "__main__", "cli"}),
    frozenset({"integrations"}),
    frozenset({"decorators"}),
    frozenset({"functions", "sharedcache", "tasks"}),
    frozenset({"scheduling"}),
    frozenset({"decorated"}),
    frozenset({"backends"}),
    frozenset({"engine"}),
    frozenset({"shared"}),
    frozenset({"cache"}),
    frozenset({"keys"}),
    frozenset({"transport"}),
    frozenset({"captured"}),
    frozenset({"options", "retries"}),
    frozenset({"exceptions", "naming", "_version", "_startup"}),
)

#: Second files of a module, apart from it only because they are dear to load: they count as that module.
PARTS = {"_broken": "exceptions"}

#: What pyproject.toml requires. Integrations may import the library that they are for.
DEPENDENCIES = frozenset({"cloudpickle", "typing_extensions"})

#: Parts of the standard library that older Pythons have not got.
NEWER = {"annotationlib"}
#: Extras of pyproject.toml that make something better where they are installed, and that everything works without.
OPTIONAL = frozenset({"numpy", "tblib", "threadpoolctl"})

PACKAGE = "manyhands"
ROOT = Path(__file__).parents[2] / "src" / PACKAGE


class Imports(ast.NodeVisitor):
    """Collects the dotted names that one module imports, with the line of each."""

    def __init__(self, module: str, *, is_package: bool, modules: frozenset[str]) -> None:
        self.module = module
        self.base = module if is_package else module.rpartition(".")[0]
        self.modules = modules
        self.found: list[tuple[str, int]] = []

    def visit_If(self, node: ast.If) -> None:
        # `if TYPE_CHECKING:` and `if typing.TYPE_CHECKING:`; the branch after its `else` does run.
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
        for child in node.orelse if name == "TYPE_CHECKING" else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            parent = self.base.split(".")
            parent = parent[: len(parent) - (node.level - 1)]
            source = ".".join([*parent, source] if source else parent)
        for alias in node.names:
            # `from package import name`: a module of that name if there is one, else what the package holds.
            name = f"{source}.{alias.name}"
            self.found.append((name if name in self.modules else source, node.lineno))

    def visit_Call(self, node: ast.Call) -> None:
        # importlib.import_module("manyhands.backends.threads") is an import too.
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in {"import_module", "__import__"} and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                self.found.append((target.value, node.lineno))
        self.generic_visit(node)


Sources = dict[str, tuple[str, bool]]
"""The dotted name of a module, its text, and whether it is a package."""


def read_package() -> Sources:
    sources: Sources = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        sources[".".join(parts[:-1] if is_package else parts)] = (
            path.read_text(encoding="utf-8"),
            is_package,
        )
    return sources


def imports_of(sources: Sources) -> Iterator[tuple[str, str, int]]:
    """Yield (importing module, imported name, line) for all that the sources import."""
    for module, (text, is_package) in sources.items():
        visitor = Imports(module, is_package=is_package, modules=frozenset(sources))
        visitor.visit(ast.parse(text))
        for name, line in visitor.found:
            yield module, name, line


def branch(module: str) -> str:
    """``manyhands.engine.pool`` -> ``engine``; the package's own ``__init__`` by that name."""
    name = [*module.split("."), "__init__"][1]
    return PARTS.get(name, name)


def layer(module: str) -> int:
    """Return the number of a module's layer, counted from the top."""
    for number, names in enumerate(LAYERS):
        if branch(module) in names:
            return number
    raise LookupError(f"{module} has no layer: give {branch(module)!r} its place in LAYERS")


def upward(sources: Sources) -> list[str]:
    """Describe each import that points to a layer above its own."""
    return [
        f"{module}:{line} imports {name}, which lies above it"
        for module, name, line in imports_of(sources)
        if name.split(".")[0] == PACKAGE and layer(name) < layer(module)
    ]


def cycle(sources: Sources) -> list[str]:
    """Return the modules of one cycle of imports, or nothing."""
    whole = {module: module for module in sources}
    whole |= {f"{PACKAGE}.{part}": f"{PACKAGE}.{main}" for part, main in PARTS.items()}
    graph: dict[str, set[str]] = {whole[module]: set() for module in sources}
    for module, name, _ in imports_of(sources):
        if name in sources and whole[name] != whole[module]:
            graph[whole[module]].add(whole[name])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def undeclared(sources: Sources) -> list[str]:
    """Describe each import of a library that is not among the runtime dependencies."""
    known = sys.stdlib_module_names | NEWER | DEPENDENCIES | OPTIONAL | {PACKAGE}
    return [
        f"{module}:{line} imports {name}, which pyproject.toml does not require"
        for module, name, line in imports_of(sources)
        if name.split(".")[0] not in known and branch(module) != "integrations"
    ]


def test_imports_point_downwards() -> None:
    assert upward(read_package()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle(read_package()) == []


def test_every_module_has_its_place_in_the_table() -> None:
    sources = read_package()
    assert {"manyhands", "manyhands.options", "manyhands.exceptions", "manyhands.engine"} <= set(sources)
    for module in sources:
        layer(module)


def test_only_declared_dependencies_are_imported() -> None:
    assert undeclared(read_package()) == []


class TestTheChecksThemselves:
    """Each finds what it is there to find, in the smallest package that has it."""

    @pytest.mark.parametrize(
        "line",
        [
            "import manyhands.functions",
            "from manyhands import functions",
            "from manyhands.functions import ParallelFunction",
            "from ..functions import ParallelFunction",
            "from .. import functions",
            "from manyhands import parallel_map",
            "def f():\n    from manyhands import functions",
            "try:\n    import manyhands.functions\nexcept ImportError:\n    pass",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import manyhands.functions",
            "import importlib\nimportlib.import_module('manyhands.functions')",
        ],
    )
    def test_an_upward_import_is_found_however_it_is_written(self, line: str) -> None:
        sources = {
            "manyhands": ("", True),
            "manyhands.functions": ("", False),
            "manyhands.engine": ("", True),
            "manyhands.engine.pool": (line, False),
        }
        assert len(upward(sources)) == 1

    @pytest.mark.parametrize(
        "line",
        [
            "import manyhands.options",
            "from ..options import Options",
            "from .loop import Loop",
            "from . import loop",
            "import json",
            "if TYPE_CHECKING:\n    from manyhands.functions import ParallelFunction",
            "if typing.TYPE_CHECKING:\n    from manyhands.functions import ParallelFunction",
        ],
    )
    def test_other_imports_are_not(self, line: str) -> None:
        sources = {
            "manyhands": ("", True),
            "manyhands.functions": ("", False),
            "manyhands.options": ("", False),
            "manyhands.engine": ("", True),
            "manyhands.engine.loop": ("", False),
            "manyhands.engine.pool": (line, False),
        }
        assert upward(sources) == []
        assert cycle(sources) == []

    def test_a_cycle_of_siblings_is_found_also_through_a_function(self) -> None:
        sources = {
            "manyhands.engine": ("", True),
            "manyhands.engine.loop": ("from .pool import Pool", False),
            "manyhands.engine.pool": ("def start():\n    from manyhands.engine import loop", False),
        }
        assert {"manyhands.engine.loop", "manyhands.engine.pool"} <= set(cycle(sources))

    def test_a_module_without_a_place_is_named(self) -> None:
        with pytest.raises(LookupError, match="'surprise' its place in LAYERS"):
            layer("manyhands.surprise")

    def test_a_library_that_is_not_required_is_found(self) -> None:
        assert len(undeclared({"manyhands.engine.pool": ("def f():\n    import scipy", False)})) == 1
        assert undeclared({"manyhands.integrations.arrays": ("import numpy", False)}) == []
