"""What a function reads and assigns outside itself, as its code shows it; starts no process.

A "worker" here is the same interpreter with the modules imported afresh.
"""

from __future__ import annotations

import dis
import functools
import importlib
import opcode
import pickle
import sys
import textwrap
import threading
import types
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.captured import (
    GlobalRef,
    apply,
    bytecode,
    globals_read,
    lost_nonlocals,
    lost_updates,
    reads,
    snapshot,
    updates,
    values,
    warn_lost_updates,
)
from manyhands.exceptions import LostUpdateWarning, StaleGlobalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

total = 0
seen: list[int] = []


# -- functions with something to find, and with nothing


def plain(x: int) -> int:
    return x + total


def counts(x: int) -> int:
    global total
    total += x
    return total


def forgets(x: int) -> int:
    global total
    del total
    return x


def hidden_in_lambda(x: int) -> Callable[[], None]:
    def inner() -> None:
        global total
        total = x

    return inner


def hidden_in_class(x: int) -> type:
    class Inner:
        global total
        total = 1

    return Inner


def only_mutates(x: int) -> None:
    seen.append(x)


def local_of_the_same_name(x: int) -> int:
    total = x
    return total  # noqa: RET504 - a local variable is the point


def imports_lazily(x: int) -> Any:
    global json, path
    import json
    import os.path as path  # noqa: PLR0402 - it compiles to other instructions than `from os import path`

    return json, path


def line_of(function: Any, text: str) -> int:
    import inspect

    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


class Counter:
    total = 0

    def method(self, x: int) -> None:
        global total
        total = x

    @staticmethod
    def static(x: int) -> None:
        global total
        total = x

    @classmethod
    def on_class(cls, x: int) -> None:
        global total
        total = x

    def __call__(self, x: int) -> None:
        global total
        total = x


class Clean:
    def __call__(self, x: int) -> int:
        return x


class Constructed:
    def __init__(self, x: int) -> None:
        global total
        total = x


@functools.wraps(counts)
def wrapper(x: int) -> int:
    return counts(x)


class TestLostUpdates:
    def test_an_augmented_assignment_is_found_with_its_line(self) -> None:
        assert lost_updates(counts) == [("total", line_of(counts, "total +="))]

    def test_a_deletion_is_found(self) -> None:
        assert lost_updates(forgets) == [("total", line_of(forgets, "del total"))]

    @pytest.mark.parametrize(
        "function", [plain, only_mutates, local_of_the_same_name, Clean(), len, print, "".join, int]
    )
    def test_nothing_is_found_where_no_global_is_assigned(self, function: Callable[..., Any]) -> None:
        assert lost_updates(function) == []

    def test_a_global_that_an_import_statement_sets_is_not_lost(self) -> None:
        assert lost_updates(imports_lazily) == []

    @pytest.mark.parametrize(
        "function",
        [
            hidden_in_lambda,
            hidden_in_class,
            functools.partial(counts, 1),
            functools.partial(functools.partial(counts), 1),
            Counter().method,
            Counter.method,
            Counter.static,
            Counter.on_class,
            vars(Counter)["static"],
            vars(Counter)["on_class"],
            Counter(),
            Constructed,
            wrapper,
            functools.lru_cache(counts),
        ],
    )
    def test_it_is_found_however_the_function_is_wrapped(self, function: Callable[..., Any]) -> None:
        assert [name for name, _ in lost_updates(function)] == ["total"]

    def test_the_wrapper_of_a_function_is_looked_at_too(self) -> None:
        @functools.wraps(plain)
        def counting(x: int) -> int:
            global total
            total += 1
            return plain(x)

        assert [name for name, _ in lost_updates(counting)] == ["total"]

    def test_each_global_is_named_once_with_the_first_line(self) -> None:
        names: dict[str, Any] = {}
        exec("def f():\n global a, b\n b = 1\n a = 1\n b = 2\n", names)
        assert lost_updates(names["f"]) == [("b", 3), ("a", 4)]

    def test_an_assignment_that_needs_a_long_argument_is_named_rightly(self) -> None:
        body = "".join(f" v{n} = 1\n" for n in range(600))
        names: dict[str, Any] = {}
        exec(f"def f():\n global {', '.join(f'v{n}' for n in range(600))}\n{body}", names)
        assert lost_updates(names["f"]) == [(f"v{n}", n + 3) for n in range(600)]

    def test_the_answer_is_the_same_after_the_function_has_run_hot(self) -> None:
        names: dict[str, Any] = {"n": 0}
        exec("def f():\n global n\n n = n + 1\n", names)
        for _ in range(5000):
            names["f"]()
        assert lost_updates(names["f"]) == [("n", 3)]

    def test_objects_that_wrap_each_other_in_a_circle_end(self) -> None:
        def one() -> None: ...
        def two() -> None: ...

        one.__wrapped__, two.__wrapped__ = two, one  # type: ignore[attr-defined]
        assert lost_updates(one) == []

    def test_an_object_whose_attributes_raise_shows_nothing(self) -> None:
        class Hostile:
            def __getattr__(self, name: str) -> Any:
                raise ZeroDivisionError(name)

            def __call__(self) -> None: ...

        assert lost_updates(Hostile()) == []

    def test_the_opcode_numbers_found_by_sample_are_those_of_the_interpreter(self) -> None:
        found = (updates._STORE_GLOBAL, updates._DELETE_GLOBAL, updates._STORE_DEREF, updates._DELETE_DEREF)
        names = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")
        assert found == tuple(opcode.opmap[name] for name in names)


class TestLostNonlocals:
    def test_a_rebound_variable_of_an_enclosing_function_is_found(self) -> None:
        n = m = 0

        def inner(x: int) -> None:
            nonlocal n, m
            n += x
            del m

        assert lost_nonlocals(inner) == [("n", line_of(inner, "n += x")), ("m", line_of(inner, "del m"))]

    def test_a_function_deeper_inside_is_looked_at(self) -> None:
        n = 0

        def inner() -> Callable[[], None]:
            def innermost() -> None:
                nonlocal n
                n = 1

            return innermost

        assert [name for name, _ in lost_nonlocals(inner)] == ["n"]

    def test_a_variable_of_the_function_itself_is_not_lost(self) -> None:
        def outer(x: int) -> int:
            n = 0

            def inner() -> None:
                nonlocal n
                n += x

            inner()
            return n

        assert lost_nonlocals(outer) == []

    def test_of_two_variables_only_that_from_outside_is_lost(self) -> None:
        n = 0

        def outer() -> Callable[[], None]:
            m = 0

            def inner() -> None:
                nonlocal n, m
                m = n = 1

            return inner

        assert [name for name, _ in lost_nonlocals(outer)] == ["n"]

    def test_an_argument_that_an_inner_function_shares_does_not_confuse_the_names(self) -> None:
        n = 0

        def outer(a: int, b: int) -> Callable[[], int]:
            nonlocal n
            c = b
            n = 1
            return lambda: a + b + c

        assert [name for name, _ in lost_nonlocals(outer)] == ["n"]

    def test_reading_is_no_assignment(self) -> None:
        n = 0
        assert lost_nonlocals(lambda: n) == []


@pytest.fixture
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_warned", set())


@pytest.mark.usefixtures("nothing_warned")
class TestWarning:
    def test_it_says_which_function_where_and_what(self) -> None:
        with pytest.warns(LostUpdateWarning) as caught:
            warn_lost_updates(counts)
        message = str(caught[0].message)
        assert message.startswith(
            f"counts ({__file__}:{counts.__code__.co_firstlineno}) assigns the global 'total' (line "
        )
        assert "Return the value" in message

    def test_it_comes_once_for_each_function(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for function in (counts, counts, functools.partial(counts), forgets):
                warn_lost_updates(function)
        assert [str(warning.message).split()[0] for warning in caught] == ["counts", "forgets"]

    def test_a_closure_made_again_and_again_is_one_function(self) -> None:
        def make() -> Callable[[], None]:
            n = 0

            def inner() -> None:
                nonlocal n
                n += 1

            return inner

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                warn_lost_updates(make())
        assert ["enclosing variable 'n'" in str(warning.message) for warning in caught] == [True]

    def test_it_points_to_the_line_that_the_caller_asks_for(self) -> None:
        def decorate() -> None:
            warn_lost_updates(counts, stacklevel=2)

        with pytest.warns(LostUpdateWarning) as caught:
            decorate()
        assert caught[0].filename == __file__
        here = line_of(TestWarning.test_it_points_to_the_line_that_the_caller_asks_for, "        decorate()")
        assert caught[0].lineno == here

    def test_there_is_none_for_a_function_that_assigns_nothing_outside(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_lost_updates(plain)


# -- what code shows


def names_by_dis(code: types.CodeType, *operations: str) -> list[str]:
    return [
        step.argval
        for part in bytecode.nested(code)
        for step in dis.get_instructions(part)
        if step.opname in operations
    ]


@pytest.mark.parametrize(
    "module",
    [argument for argument in (functools, textwrap, dis, pickle, warnings, threading) if argument.__file__],
)
def test_names_are_read_from_bytes_as_the_disassembler_reads_them(module: types.ModuleType) -> None:
    with open(module.__file__ or "", encoding="utf-8") as file:
        code = compile(file.read(), "<module>", "exec")
    found = bytecode.facts(code)
    loads = names_by_dis(code, "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    assert [chain[0] for chain in found.chains if len(chain) == 1] != []
    assert {chain[0] for chain in found.chains} == set(loads)
    assert set(found.attributes) == set(names_by_dis(code, "LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"))
    assert {statement.name for statement in found.imports} == set(names_by_dis(code, "IMPORT_NAME"))
    assigned = {name for part in bytecode.nested(code) for name, _ in bytecode.assigned_globals(part)}
    assert assigned <= set(names_by_dis(code, "STORE_GLOBAL", "DELETE_GLOBAL"))


def changed_by(statement: str) -> set[tuple[str, ...]]:
    body = textwrap.indent(textwrap.dedent(statement), " ")
    code = compile(f"def f(x, y):\n{body}", "<statement>", "exec").co_consts[0]
    return set(bytecode.facts(code).changed)


@pytest.mark.parametrize(
    ("statement", "chain"),
    [
        ("cache[x] = y", ("cache",)),
        ("cache[x] += y", ("cache",)),
        ("cache[x][y] = 1", ("cache",)),
        ("cache[x, y + 1] = len(x)", ("cache",)),
        ("del cache[x]", ("cache",)),
        ("cache[1:2] = y", ("cache",)),
        ("cache[x:y] = y", ("cache",)),
        ("cache.append(x)", ("cache", "append")),
        ("cache.setdefault(x, []).append(y)", ("cache", "setdefault")),
        ("cache[x].append(y)", ("cache",)),
        ("cache.table[x] = y", ("cache", "table")),
        ("cache.count = x", ("cache", "count")),
        ("cache.count += x", ("cache", "count")),
        ("del cache.count", ("cache", "count")),
        ("np.add(x, y, out=cache)", ("cache",)),
        ("global cache\ncache = x", ("cache",)),
        ("global cache\ncache += x", ("cache",)),
        ("[cache.append(i) for i in x]", ("cache", "append")),
    ],
)
def test_a_change_to_a_global_is_seen(statement: str, chain: tuple[str, ...]) -> None:
    assert chain in changed_by(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "return cache[x]",
        "y[cache] = 1",
        "y[cache[x]] = cache[y]",
        "y.append(cache)",
        "return len(cache) + cache.get(x, y)",
        "y.cache = cache",
        "for i in cache: y.append(i)",
        "return [i for i in cache if i in x]",
        "x = cache; return x",
    ],
)
def test_reading_a_global_is_no_change(statement: str) -> None:
    assert {chain[0] for chain in changed_by(statement)} & {"cache"} == set()


# -- modules written for a test, and imported


class Modules:
    """Writes modules into a folder of their own and imports them; ``afresh`` is what a worker would do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def write(self, **sources: str) -> None:
        """Write modules; ``a__b`` is the module ``b`` of the package ``a``."""
        for name, text in sources.items():
            *folders, last = name.split("__")
            folder = self.folder.joinpath(*folders)
            folder.mkdir(parents=True, exist_ok=True)
            for parent in (folder, *folder.parents):
                if parent == self.folder:
                    break
                (parent / "__init__.py").touch()
            (folder / f"{last}.py").write_text(textwrap.dedent(text), encoding="utf-8")
            self.names.append(name.split("__")[0])
        importlib.invalidate_caches()

    def get(self, name: str) -> Any:
        return importlib.import_module(name)

    def forget(self) -> None:
        for name in list(sys.modules):
            if name.split(".")[0] in self.names:
                del sys.modules[name]

    def afresh(self) -> None:
        self.forget()
        values._applied.clear()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(values, "_applied", {})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written = Modules(tmp_path)
    yield written
    written.forget()


def names(refs: tuple[GlobalRef, ...]) -> list[str]:
    return [f"{ref.module}.{ref.name}" for ref in refs]


class TestGlobalsRead:
    def test_data_is_found_and_code_is_not(self, modules: Modules) -> None:
        modules.write(
            work="""
            import math
            LIMIT = 3
            TABLE = {1: 2}
            UNREAD = 0
            class Box: ...
            def helper(x): return x
            def f(x):
                return helper(x) + LIMIT + TABLE[x] + math.pi + len([Box])
            """
        )
        assert names(globals_read(modules.get("work").f)) == ["work.LIMIT", "work.TABLE"]

    def test_functions_that_it_calls_are_followed_in_the_order_of_the_code(self, modules: Modules) -> None:
        modules.write(
            work="""
            A = B = C = D = 1
            def f(x): return g(x) + A
            def g(x): return h(x) + B
            def h(x): return f(x) + C
            def unrelated(): return D
            """
        )
        assert names(globals_read(modules.get("work").f)) == ["work.A", "work.B", "work.C"]

    def test_what_is_nested_in_the_function_counts(self, modules: Modules) -> None:
        modules.write(
            work="""
            A = B = C = 1
            def f(xs):
                class Inner:
                    value = A
                return [x + B for x in xs], lambda: C
            """
        )
        assert sorted(names(globals_read(modules.get("work").f))) == ["work.A", "work.B", "work.C"]

    def test_attributes_of_modules_of_the_package_are_followed(self, modules: Modules) -> None:
        modules.write(
            pack__settings="LIMIT = 1\nOTHER = 2\ndef scaled(x): return x * OTHER",
            pack__work="""
            from pack import settings
            from . import settings as alias
            import pack.settings
            def f(x): return settings.LIMIT
            def g(x): return settings.scaled(x)
            def h(x): return pack.settings.LIMIT
            def bare(x):
                s = alias
                return s.LIMIT
            """,
        )
        work = modules.get("pack.work")
        assert names(globals_read(work.f)) == ["pack.settings.LIMIT"]
        assert names(globals_read(work.g)) == ["pack.settings.OTHER"]
        assert names(globals_read(work.h)) == ["pack.settings.LIMIT"]
        assert names(globals_read(work.bare)) == ["pack.settings.LIMIT"]

    def test_imports_inside_functions_are_followed(self, modules: Modules) -> None:
        modules.write(
            pack__root="ROOT = 1",
            pack__sub__settings="LIMIT = 1",
            pack__sub__work="""
            def absolute(x):
                from pack.sub.settings import LIMIT
                return LIMIT
            def relative(x):
                from .settings import LIMIT as limit
                return limit
            def whole(x):
                import pack.sub.settings as s
                return s.LIMIT
            def dotted(x):
                import pack.sub.settings
                return pack.sub.settings.LIMIT + pack.root.ROOT
            def sibling(x):
                from . import settings
                return settings.LIMIT
            def parent(x):
                from ..root import ROOT
                return ROOT
            """,
        )
        modules.get("pack.sub.settings")
        modules.get("pack.root")
        work = modules.get("pack.sub.work")
        for name in ("absolute", "relative", "whole", "sibling"):
            assert names(globals_read(getattr(work, name))) == ["pack.sub.settings.LIMIT"], name
        assert sorted(names(globals_read(work.dotted))) == ["pack.root.ROOT", "pack.sub.settings.LIMIT"]
        assert names(globals_read(work.parent)) == ["pack.root.ROOT"]

    def test_a_module_that_is_not_loaded_cannot_have_changed_and_is_not_loaded(
        self, modules: Modules
    ) -> None:
        modules.write(later="LIMIT = 1", work="def f(x):\n from later import LIMIT\n return LIMIT")
        work = modules.get("work")
        assert globals_read(work.f) == ()
        assert "later" not in sys.modules
        modules.get("later")
        assert names(globals_read(work.f)) == ["later.LIMIT"]

    def test_imported_values_belong_to_the_module_that_reads_them(self, modules: Modules) -> None:
        modules.write(settings="LIMIT = 1", work="from settings import LIMIT\ndef f(x): return LIMIT")
        assert names(globals_read(modules.get("work").f)) == ["work.LIMIT"]

    def test_modules_beside_a_plain_module_are_its_project(self, modules: Modules) -> None:
        modules.write(
            settings="LIMIT = 1",
            tools__scales="FACTOR = 1\ndef scale(x): return x * FACTOR",
            work="import settings, tools.scales\ndef f(x): return tools.scales.scale(x) + settings.LIMIT",
        )
        assert sorted(names(globals_read(modules.get("work").f))) == ["settings.LIMIT", "tools.scales.FACTOR"]

    def test_where_libraries_are_installed_neighbours_are_strangers(self, modules: Modules) -> None:
        (modules.folder / "settings-1.0.dist-info").mkdir()
        modules.write(
            settings="LIMIT = 1", work="import settings\nA = 1\ndef f(x): return A + settings.LIMIT"
        )
        assert names(globals_read(modules.get("work").f)) == ["work.A"]

    @pytest.mark.parametrize(
        "function", [textwrap.dedent, functools.partial(textwrap.dedent), len, dis.Bytecode, 3]
    )
    def test_the_standard_library_has_none(self, function: Any) -> None:
        assert globals_read(function) == ()

    def test_functions_of_main_have_no_globals_of_their_own_but_their_helpers_have(
        self, modules: Modules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modules.write(helper="LIMIT = 1\ndef limited(x): return min(x, LIMIT)")
        main = types.ModuleType("__main__")
        main.__file__ = str(modules.folder / "script.py")
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(
            "import helper\nOWN = 1\ndef g(x): return helper.limited(x)\ndef f(x): return g(x) + OWN",
            vars(main),
        )
        assert names(globals_read(main.f)) == ["helper.LIMIT"]

    def test_a_namespace_that_is_no_module_travels_with_the_function(self, modules: Modules) -> None:
        modules.write(work="LIMIT = 1")
        namespace = {"__name__": "work", "LIMIT": 2}
        modules.get("work")
        exec("def f(x): return LIMIT", namespace)
        assert globals_read(namespace["f"]) == ()  # type: ignore[arg-type]

    def test_names_of_the_language_are_left_out(self, modules: Modules) -> None:
        modules.write(work="def f(x): return __name__, __file__, __doc__, __builtins__")
        assert globals_read(modules.get("work").f) == ()

    def test_closures_and_defaults_are_followed(self, modules: Modules) -> None:
        modules.write(
            work="""
            A = B = C = 1
            def inner(x): return A
            def default(x): return B
            def keyword(x): return C
            def make():
                function = inner
                def f(x, g=default, *, h=keyword): return function(x)
                return f
            f = make()
            """
        )
        assert sorted(names(globals_read(modules.get("work").f))) == ["work.A", "work.B", "work.C"]

    def test_wrappers_are_looked_through(self, modules: Modules) -> None:
        modules.write(
            work="""
            import functools
            A = B = 1
            def logged(function):
                @functools.wraps(function)
                def wrapper(*args): return B and function(*args)
                return wrapper
            @logged
            def f(x): return A
            cached = functools.lru_cache(f)
            part = functools.partial(f, 1)
            def caller(x): return cached(x)
            def applied(function, x): return function(x)
            part_of = functools.partial(applied, f)
            """
        )
        work = modules.get("work")
        for function in (work.f, work.cached, work.part, work.part_of):
            assert sorted(names(globals_read(function))) == ["work.A", "work.B"]
        assert {"work.A", "work.B"} < set(names(globals_read(work.caller)))

    def test_a_wrapper_from_a_library_hides_nothing(self, modules: Modules) -> None:
        modules.write(work="import contextlib\nA = 1\n@contextlib.contextmanager\ndef f():\n yield A")
        assert names(globals_read(modules.get("work").f)) == ["work.A"]

    def test_methods_are_followed_where_their_names_occur(self, modules: Modules) -> None:
        modules.write(
            work="""
            A = B = C = D = E = F = 1
            class Base:
                def inherited(self): return A
            class Box(Base):
                def __init__(self): self.x = B
                def used(self): return self.step() + self.inherited() + self.shown
                def step(self): return C
                @property
                def shown(self): return E
                @staticmethod
                def unused(): return D
                @classmethod
                def of(cls): return F
            def f(x): return Box().used()
            def g(x): return Box.of()
            box = Box()
            def h(x): return box.step()
            """
        )
        work = modules.get("work")
        assert sorted(names(globals_read(work.f))) == ["work.A", "work.B", "work.C", "work.E"]
        assert sorted(names(globals_read(work.g))) == ["work.B", "work.F"]
        assert sorted(names(globals_read(work.h))) == ["work.B", "work.C", "work.box"]
        assert sorted(names(globals_read(work.box.used))) == ["work.A", "work.B", "work.C", "work.E"]
        assert sorted(names(globals_read(work.Box.used))) == ["work.A", "work.B", "work.C", "work.E"]

    def test_a_computed_attribute_makes_every_method_count(self, modules: Modules) -> None:
        modules.write(
            work="""
            A = 1
            class Box:
                def hidden(self): return A
            def f(x): return getattr(Box(), "hid" + x)()
            """
        )
        assert names(globals_read(modules.get("work").f)) == ["work.A"]

    def test_methods_that_a_library_calls_back_count(self, modules: Modules) -> None:
        modules.write(
            work="""
            import ast
            WEIGHT = 1
            class Visitor(ast.NodeVisitor):
                def visit_If(self, node): return WEIGHT
            def f(x): return Visitor().visit(x)
            """
        )
        assert names(globals_read(modules.get("work").f)) == ["work.WEIGHT"]

    def test_data_taken_of_a_class_by_its_name_is_found(self, modules: Modules) -> None:
        modules.write(
            work="""
            import enum
            class Settings:
                limit = 1
                other = 2
                class Deep:
                    level = 3
            class Color(enum.Enum):
                RED = 1
            def f(x): return Settings.limit + Settings.Deep.level, Color.RED
            """
        )
        assert "work.Settings.limit" in names(globals_read(modules.get("work").f))
        assert "work.Color.RED" not in names(globals_read(modules.get("work").f))

    def test_a_function_put_under_another_name_is_data(self, modules: Modules) -> None:
        modules.write(work="def hook(x): return x\ndef other(x): return -x\ndef f(x): return hook(x)")
        work = modules.get("work")
        assert globals_read(work.f) == ()
        work.hook = work.other
        assert names(globals_read(work.f)) == ["work.hook"]

    def test_a_name_that_is_not_set_is_none_until_it_is(self, modules: Modules) -> None:
        modules.write(work="def f(x): return LIMIT + len(x)")
        work = modules.get("work")
        assert globals_read(work.f) == ()
        work.LIMIT = 1
        assert names(globals_read(work.f)) == ["work.LIMIT"]

    def test_the_second_answer_comes_from_memory(
        self, modules: Modules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modules.write(
            work="A = 1\ndef f(x): return g(x)\ndef g(x): return A\nclass C:\n def m(self): return A"
        )
        work = modules.get("work")
        first = [globals_read(work.f), globals_read(work.C().m)]
        monkeypatch.setattr(reads, "_Walk", None)
        assert [globals_read(work.f), globals_read(work.C().m)] == first

    def test_a_function_that_was_replaced_is_followed_anew(self, modules: Modules) -> None:
        modules.write(work="A = B = 1\ndef f(x): return g(x)\ndef g(x): return A\ndef k(x): return B")
        work = modules.get("work")
        assert names(globals_read(work.f)) == ["work.A"]
        exec("def g(x): return B", vars(work))
        assert names(globals_read(work.f)) == ["work.B"]

    def test_an_object_of_another_class_in_the_same_place_is_followed_anew(self, modules: Modules) -> None:
        modules.write(
            work="A = 1\nclass Tool:\n def use(self): return A\ntool = None\ndef f(x): return tool.use()"
        )
        work = modules.get("work")
        assert names(globals_read(work.f)) == ["work.tool"]
        work.tool = work.Tool()
        assert names(globals_read(work.f)) == ["work.tool", "work.A"]

    def test_memory_holds_no_function_alive(self, modules: Modules) -> None:
        import gc
        import weakref

        modules.write(work="A = 1\ndef make():\n def f(x): return A\n return f")
        function = modules.get("work").make()
        globals_read(function)
        gone = weakref.ref(function)
        del function
        gc.collect()
        assert gone() is None

    def test_what_the_code_itself_changes_is_marked(self, modules: Modules) -> None:
        modules.write(
            work="""
            cache, conn, fixed, stats = {}, None, {}, []
            def f(x):
                global conn
                conn = conn or open(x)
                cache[x] = fixed[x]
                note(x)
                return cache
            def note(x): stats.append(x)
            """
        )
        marks = {ref.name: ref.kept for ref in globals_read(modules.get("work").f)}
        assert marks == {"conn": True, "cache": True, "fixed": False, "stats": True}

    def test_what_the_initializer_sets_is_left_out(self, modules: Modules) -> None:
        modules.write(
            work="""
            model, limit, deep = None, 1, 2
            class Settings: level = 1
            def start(): load()
            def load():
                global model
                model = object()
            def begin():
                import work
                work.deep = 3
            def f(x): return model, limit, deep
            """,
            other="import work\ndef start(): work.model = 1",
        )
        work, other = modules.get("work"), modules.get("other")
        assert names(globals_read(work.f)) == ["work.model", "work.limit", "work.deep"]
        assert names(globals_read(work.f, initializer=work.start)) == ["work.limit", "work.deep"]
        assert names(globals_read(work.f, initializer=other.start)) == ["work.limit", "work.deep"]
        assert names(globals_read(work.f, initializer=work.begin)) == ["work.model", "work.limit"]

    def test_the_walk_is_bounded(self, modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
        chain = "".join(f"def f{n}(x): return f{n + 1}(x) + V{n}\nV{n} = 1\n" for n in range(50))
        modules.write(work=chain)
        monkeypatch.setattr(reads, "BOUND", 10)
        assert names(globals_read(modules.get("work").f0)) == [f"work.V{n}" for n in range(10)]

    def test_hostile_globals_are_data_like_others(self, modules: Modules) -> None:
        modules.write(
            work="""
            class Proxy:
                def __getattribute__(self, name): raise RuntimeError("nothing behind")
                def __call__(self): ...
            proxy = Proxy()
            def f(x): return proxy
            """
        )
        refs = globals_read(modules.get("work").f)
        assert names(refs) == ["work.proxy"]
        assert [item[2] for item in snapshot(refs)] == ["shape"]

    def test_an_object_that_loads_itself_when_asked_is_not_asked(self, modules: Modules) -> None:
        modules.write(
            work="""
            asked = []
            class Lazy:
                def __getattr__(self, name):
                    if name[:2] != "__" or name == "__wrapped__": asked.append(name)
                    raise AttributeError(name)
            lazy = Lazy()
            def f(x, default=lazy): return lazy
            """
        )
        work = modules.get("work")
        snapshot(globals_read(work.f))
        assert work.asked == []

    @pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports came with 3.15")
    def test_a_lazy_import_is_not_loaded_by_looking(self, modules: Modules) -> None:
        modules.write(
            never="LIMIT = 1",
            settings="LIMIT = 1",
            work="lazy import never\nlazy import settings\nlazy from settings import LIMIT as limit\n"
            "def f(x): return never.LIMIT\ndef g(x): return settings.LIMIT\ndef h(x): return limit",
        )
        work = modules.get("work")
        assert globals_read(work.f) == globals_read(work.g) == globals_read(work.h) == ()
        assert "never" not in sys.modules
        modules.get("settings")
        assert names(globals_read(work.g)) == ["settings.LIMIT"]
        assert [item[1] for item in snapshot(globals_read(work.h))] == ["limit"]


# -- contents


def captured(modules: Modules, source: str, change: Callable[[Any], None]) -> Any:
    """Write a module with a function f, change it in the caller, and bring it to a worker; return the worker's."""
    modules.write(work=source)
    work = modules.get("work")
    change(work)
    packed = pickle.loads(pickle.dumps(snapshot(globals_read(work.f))))
    modules.afresh()
    apply(packed)
    return modules.get("work")


class TestTravel:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        )
    )
    def test_whatever_the_caller_holds_the_worker_gets(self, value: Any) -> None:
        module = sys.modules["manyhands_test_module"] = types.ModuleType("manyhands_test_module")
        values._applied.clear()
        try:
            module.value = value  # type: ignore[attr-defined]
            packed = snapshot([GlobalRef("manyhands_test_module", "value")])
            module.value = "fresh"  # type: ignore[attr-defined]
            apply(packed)
            assert module.value == value
            assert pickle.dumps(module.value, 5) == pickle.dumps(pickle.loads(pickle.dumps(value, 5)), 5)
        finally:
            del sys.modules["manyhands_test_module"]

    def test_a_global_set_after_the_import_arrives(self, modules: Modules) -> None:
        worker = captured(
            modules, "LIMIT = 1\ndef f(x): return x + LIMIT", lambda work: setattr(work, "LIMIT", 5)
        )
        assert worker.f(1) == 6

    def test_a_global_that_only_the_caller_has_arrives(self, modules: Modules) -> None:
        worker = captured(modules, "def f(x): return x + LIMIT", lambda work: setattr(work, "LIMIT", 5))
        assert worker.f(1) == 6

    def test_a_dictionary_filled_after_the_import_arrives(self, modules: Modules) -> None:
        worker = captured(modules, "T = {}\ndef f(x): return T[x]", lambda work: work.T.update(a=1))
        assert worker.f("a") == 1

    def test_an_attribute_of_a_class_arrives(self, modules: Modules) -> None:
        source = "class Settings:\n limit = 1\ndef f(x): return Settings.limit"
        assert captured(modules, source, lambda work: setattr(work.Settings, "limit", 5)).f(0) == 5

    def test_a_replaced_function_arrives(self, modules: Modules) -> None:
        source = "def hook(x): return x\ndef other(x): return -x\ndef f(x): return hook(x)"
        assert captured(modules, source, lambda work: setattr(work, "hook", work.other)).f(3) == -3

    def test_a_global_that_is_not_set_is_skipped(self, modules: Modules) -> None:
        modules.write(work="LIMIT = 1\ndef f(x): return LIMIT")
        refs = globals_read(modules.get("work").f)
        del modules.get("work").LIMIT
        assert snapshot([*refs, GlobalRef("work", "gone"), GlobalRef("no_such_module", "x")]) == []

    def test_what_lives_in_main_travels_by_value(
        self, modules: Modules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec("class Local:\n def get(self): return 7\ndef hook(x): return x + 7", vars(main))
        modules.write(work="registry, hook = {}, None\ndef f(x): return registry[x].get(), hook")
        work = modules.get("work")
        work.registry["a"], work.hook = main.Local(), main.hook
        packed = snapshot(globals_read(work.f))
        assert [item[2] for item in packed] == ["value", "value"]
        monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
        modules.afresh()
        apply(packed)
        value, hook = modules.get("work").f("a")
        assert (value, hook(1)) == (7, 8)

    def test_an_equal_value_stays_the_object_it_is(self, modules: Modules) -> None:
        source = (
            "T, S, M = {'a': [1]}, {'some', 'words', 'in', 'a', 'set'}, object()\ndef f(x): return T, S, M"
        )
        modules.write(work=source)
        packed = snapshot(globals_read(modules.get("work").f))
        modules.afresh()
        work = modules.get("work")
        before = work.f(0)
        work.S.add("more")
        work.S.remove("more")
        apply(packed)
        assert all(one is other for one, other in zip(before, work.f(0), strict=True))

    def test_equal_is_not_the_same(self, modules: Modules) -> None:
        worker = captured(
            modules,
            "S, T = {1}, [1]\ndef f(x): return S, T",
            lambda work: vars(work).update(S={True}, T=[1.0]),
        )
        assert [type(*items) for items in worker.f(0)] == [bool, float]

    def test_what_a_task_changed_stays_while_the_caller_holds_the_same(self, modules: Modules) -> None:
        modules.write(work="cache = {}\ndef f(x): return cache")
        packed = snapshot(globals_read(modules.get("work").f))
        modules.afresh()
        apply(packed)
        modules.get("work").cache["warm"] = 1
        apply(packed)
        assert modules.get("work").cache == {"warm": 1}

    def test_the_caller_wins_when_its_content_has_changed(self, modules: Modules) -> None:
        modules.write(work="level = 1\ndef f(x): return level")
        caller = modules.get("work")
        refs = globals_read(caller.f)
        contents = []
        for level in (1, 2, 1):
            caller.level = level
            contents.append(snapshot(refs))
        modules.afresh()
        seen = []
        for content in contents:
            apply(content)
            seen.append(modules.get("work").level)
        assert seen == [1, 2, 1]

    def test_a_module_that_a_worker_cannot_import_is_left_to_the_function(self, modules: Modules) -> None:
        modules.write(work="LIMIT = 1", fails="raise SystemExit(3)")
        two = pickle.dumps(2, 5)
        apply([(name, "LIMIT", "value", two) for name in ("no_such_module", "fails", "work")])
        assert modules.get("work").LIMIT == 2

    def test_a_content_that_does_not_load_is_named(self, modules: Modules) -> None:
        modules.write(work="LIMIT = 1")
        broken = b"cwork\nno_such_name\n."
        with pytest.raises(StaleGlobalError, match=r"global work\.LIMIT"):
            apply([("work", "LIMIT", "value", broken)])


class TestRefusal:
    def test_an_unpicklable_global_that_is_the_same_kind_in_the_worker_passes(self, modules: Modules) -> None:
        source = "import threading\nlock, gen = threading.Lock(), (i for i in ())\ndef f(x): return lock, gen"
        worker = captured(modules, source, lambda work: None)
        assert type(worker.lock) is type(threading.Lock())

    def test_an_unpicklable_global_set_after_the_import_is_refused_by_name(self, modules: Modules) -> None:
        with pytest.raises(StaleGlobalError) as caught:
            captured(
                modules,
                "conn = None\ndef f(x): return conn",
                lambda work: setattr(work, "conn", threading.Lock()),
            )
        message = str(caught.value)
        assert "the global work.conn" in message
        assert "_thread.lock in the caller, and None in a worker" in message
        assert "initializer=" in message

    def test_a_large_global_filled_after_the_import_is_refused_by_name(self, modules: Modules) -> None:
        with pytest.raises(StaleGlobalError) as caught:
            captured(
                modules,
                "rows = []\ndef f(x): return rows[x]",
                lambda work: work.rows.extend(range(1_000_000)),
            )
        message = str(caught.value)
        assert "a list of 1,000,000 items in the caller, and a list of 0 items in a worker" in message
        assert "rows=..." in message

    @pytest.mark.parametrize(
        "kind", ["bytearray(2_000_000)", "[0] * 2_000_000", "array.array('d', bytes(8_000_000))"]
    )
    def test_large_contents_changed_in_place_are_noticed(self, modules: Modules, kind: str) -> None:
        def change(work: Any) -> None:
            for place in range(len(work.table)):
                work.table[place] = 1

        with pytest.raises(StaleGlobalError, match="with other contents"):
            captured(modules, f"import array\ntable = {kind}\ndef f(x): return table[x]", change)

    def test_a_large_string_is_compared_by_its_contents(self, modules: Modules) -> None:
        with pytest.raises(StaleGlobalError, match="str of 2,000,000 characters with other contents"):
            captured(
                modules,
                "text = 'a' * 2_000_000\ndef f(x): return text",
                lambda work: setattr(work, "text", "b" * 2_000_000),
            )

    def test_a_large_global_that_has_not_changed_passes(self, modules: Modules) -> None:
        source = "rows, text = list(range(1_000_000)), 'a' * 2_000_000\ndef f(x): return rows[x], text"
        assert captured(modules, source, lambda work: None).f(3)[0] == 3

    def test_what_the_function_itself_changes_is_left_to_each_worker(self, modules: Modules) -> None:
        source = (
            "conn, cache = None, {}\ndef f(x):\n global conn\n conn = conn or 1\n cache[x] = 1\n return conn"
        )

        def change(work: Any) -> None:
            work.conn = threading.Lock()
            work.cache.update((n, n) for n in range(500_000))

        worker = captured(modules, source, change)
        assert (worker.conn, worker.cache) == (None, {})

    def test_what_a_task_changed_in_a_large_global_is_not_held_against_it(self, modules: Modules) -> None:
        modules.write(work="rows = [0] * 2_000_000\ndef f(x): return rows")
        packed = snapshot(globals_read(modules.get("work").f))
        modules.afresh()
        apply(packed)
        modules.get("work").rows.append(1)
        apply(packed)
        assert len(modules.get("work").rows) == 2_000_001

    def test_objects_that_raise_when_pickled_are_compared_by_kind(self, modules: Modules) -> None:
        source = """
            class Odd:
                def __reduce__(self): raise SystemExit(3)
            odd = Odd()
            def f(x): return odd
            """
        assert captured(modules, source, lambda work: None).odd is not None

    def test_the_refusal_can_be_pickled(self, modules: Modules) -> None:
        with pytest.raises(StaleGlobalError) as caught:
            captured(
                modules, "c = None\ndef f(x): return c", lambda work: setattr(work, "c", threading.Lock())
            )
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


class TestSnapshot:
    def test_the_limit_decides_between_content_and_description(self, modules: Modules) -> None:
        modules.write(work="text = 'x' * 1000\nrows = [1.5] * 1000\ndef f(x): return text, rows")
        refs = globals_read(modules.get("work").f)
        assert [item[2] for item in snapshot(refs, limit=20_000)] == ["value", "value"]
        assert [item[2] for item in snapshot(refs, limit=2_000)] == ["value", "shape"]
        assert [item[2] for item in snapshot(refs, limit=100)] == ["shape", "shape"]

    def test_pickling_stops_at_the_limit(self, modules: Modules) -> None:
        modules.write(
            work="""
            pickled = []
            class Row:
                def __init__(self, n): self.n = n
                def __reduce__(self):
                    pickled.append(self.n)
                    return Row, (self.n,)
            rows = [Row(n) for n in range(100_000)]
            def f(x): return rows[x]
            """
        )
        work = modules.get("work")
        refs = tuple(ref for ref in globals_read(work.f) if ref.name == "rows")
        assert [item[2] for item in snapshot(refs, limit=100_000)] == ["shape"]
        assert 0 < len(work.pickled) < 50_000
        before = len(work.pickled)
        snapshot(refs, limit=100_000)
        assert len(work.pickled) == before, "what was too large is not pickled again to see that it is"

    def test_an_array_is_described_by_shape_and_dtype(self, modules: Modules) -> None:
        numpy = pytest.importorskip("numpy")
        with pytest.raises(
            StaleGlobalError, match=r"a numpy\.ndarray of shape \(1000, 1000\) and float64 in the caller"
        ):
            captured(
                modules,
                "table = None\ndef f(x): return table",
                lambda work: setattr(work, "table", numpy.zeros((1000, 1000))),
            )

    def test_an_array_filled_in_place_is_noticed(self, modules: Modules) -> None:
        pytest.importorskip("numpy")
        with pytest.raises(StaleGlobalError, match="with other contents"):
            captured(
                modules,
                "import numpy\ntable = numpy.zeros(1_000_000)\ndef f(x): return table[x]",
                lambda work: work.table.fill(1),
            )


def test_nothing_dear_is_needed_at_decoration() -> None:
    source = importlib.util.find_spec("manyhands.captured.updates")
    assert source is not None
    assert source.origin is not None
    with open(source.origin, encoding="utf-8") as file:
        top = [line for line in file if line.startswith(("import ", "from "))]
    assert top == ["from __future__ import annotations\n"]
