"""What cannot travel is named down to its smallest part, in words, whatever the object does about it."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import functools
import io
import mmap
import pickle
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import types
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.exceptions import UnpicklableError
from manyhands.transport import refusal
from manyhands.transport.refusal import describe, explain, refuse, safe_repr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCK = threading.Lock()


def by_value(obj: object) -> bytes:
    data: bytes = cloudpickle.dumps(obj, protocol=5)
    return data


def where(obj: object, dumps: Callable[[Any], object] = by_value) -> str:
    path, _, what = explain(obj, "args[0]", dumps).rpartition(": ")
    assert what in {"a thread lock", "a lambda"} or "lambda" in what
    return path.removeprefix("args[0]")


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second


class SlottedAndMore(Slotted):
    pass


@dataclass
class Job:
    name: str
    lock: Any
    rest: list[int] = field(default_factory=list)


class Point(NamedTuple):
    x: Any
    y: Any


class State:
    """Leaves its lock at home, and takes its table with it."""

    def __init__(self, table: Any) -> None:
        self.lock = LOCK
        self.table = table

    def __getstate__(self) -> dict[str, Any]:
        return {"table": self.table}


class Reduced:
    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> Any:
        return Reduced, (self.part,)


class Strings(list[Any]):
    pass


class TestThePlace:
    @pytest.mark.parametrize(
        ("obj", "path"),
        [
            (LOCK, ""),
            ([0, LOCK], "[1]"),
            ((0, [LOCK]), "[1][0]"),
            ({"a": 1, "b": LOCK}, "['b']"),
            ({"a": {3: [LOCK]}}, "['a'][3][0]"),
            ({LOCK: 1}, ".<key <unlocked _thread.lock object>>"),
            ({(1, LOCK)}, ".<item (1, <unlocked _thread.lock ...>[1]"),
            (frozenset({Plain(lock=LOCK)}), ".<item <tests.unit.test_refusal.Pl...>.lock"),
            (Plain(a=1, handle=LOCK), ".handle"),
            (Plain(a=Plain(b=[LOCK])), ".a.b[0]"),
            (Slotted(1, LOCK), ".second"),
            (SlottedAndMore(LOCK, 1), ".first"),
            (Job("name", LOCK), ".lock"),
            (Point(1, LOCK), ".y"),
            (State([LOCK]), ".table[0]"),
            (Reduced(LOCK), ".<argument 0>"),
            (Strings([1, LOCK]), "[1]"),
            (collections.OrderedDict(a=LOCK), "['a']"),
            (collections.deque([1, LOCK]), "[1]"),
            (collections.defaultdict(list, a=LOCK), "['a']"),
            (types.SimpleNamespace(lock=LOCK), ".lock"),
            (ValueError("message", LOCK), ".args[1]"),
            (functools.partial(print, LOCK), ".args[0]"),
            (functools.partial(print, file=LOCK), ".keywords['file']"),
            (functools.partial(Plain(lock=LOCK).__init__), ".func.__self__.lock"),
            (Plain(lock=LOCK).__init__, ".__self__.lock"),
            ([LOCK].append, ".__self__[0]"),
        ],
    )
    def test_the_smallest_part_that_refuses_is_named(self, obj: object, path: str) -> None:
        assert where(obj).replace(__name__, "tests.unit.test_refusal") == path

    def test_the_first_of_several_is_named(self) -> None:
        assert where([1, LOCK, LOCK]) == "[1]"

    @pytest.mark.parametrize("place", [0, 1, 4999, 9_999])
    def test_one_among_many_items_is_found_in_few_trials(self, place: int) -> None:
        items: list[Any] = list(range(10_000))
        items[place] = LOCK
        tried = 0

        def dumps(obj: object) -> bytes:
            nonlocal tried
            tried += 1
            return pickle.dumps(obj)

        assert where(items, dumps) == f"[{place}]"
        assert tried < 40
        assert where(dict(enumerate(items)), dumps) == f"[{place}]"
        assert where(Plain(rows=items), dumps) == f".rows[{place}]"

    def test_what_a_closure_holds_is_named(self) -> None:
        lock, unused = LOCK, 1
        assert where(lambda: (unused, lock)) == ".<closure>.lock"

    def test_what_a_default_holds_is_named(self) -> None:
        def function(a: int, b: Any = (LOCK,), *, c: int = 1) -> None: ...
        def keyword(a: int, *, c: Any = LOCK) -> None: ...

        assert where(function) == ".<default>.b[0]"
        assert where(keyword) == ".<default>.c"

    def test_what_a_global_of_a_function_sent_by_value_holds_is_named(self) -> None:
        names: dict[str, Any] = {"__name__": "__main__", "conn": {"lock": LOCK}, "unrelated": LOCK}
        exec("def g(): return conn\ndef f(): return g()", names)
        assert where(names["f"]) == ".<global>.g.<global>.conn['lock']"

    def test_an_attribute_of_a_function_is_named(self) -> None:
        def function() -> None: ...

        function.lock = LOCK  # type: ignore[attr-defined]
        assert where(function) == ".lock"

    def test_what_a_local_class_holds_is_named(self) -> None:
        class Local:
            lock = LOCK

        assert where(Local) == ".lock"
        assert where(Local()) == ".__class__.lock"

    def test_a_function_that_pickle_finds_by_name_has_no_parts(self) -> None:
        lock = LOCK
        path, _, what = explain([lambda: lock], "args[0]", pickle.dumps).partition(": ")
        assert path == "args[0][0]"
        assert what.startswith("a lambda (")

    def test_an_array_of_objects_is_looked_into(self) -> None:
        numpy = pytest.importorskip("numpy")
        array = numpy.array([[1, None], [LOCK, 2]], dtype=object)
        assert where(array) == ".flat[2]"

    def test_objects_that_hold_each_other_end(self) -> None:
        one, two = Plain(), Plain()
        one.other, two.other, two.lock = two, one, LOCK  # type: ignore[attr-defined]
        assert where([one]) == "[0].other.lock"

    def test_the_way_down_is_bounded(self) -> None:
        obj: Any = LOCK
        for _ in range(200):
            obj = [obj]
        path, part, _ = refusal._find(obj, "args[0]", pickle.dumps, None)
        assert path == "args[0]" + "[0]" * refusal.DEPTH
        assert type(part) is list

    def test_the_number_of_trials_is_bounded(self) -> None:
        tried = 0

        def refuses_all(obj: object) -> None:
            nonlocal tried
            tried += 1
            if type(obj) is not Plain:
                raise TypeError

        explain([[Plain() for _ in range(5)] for _ in range(5_000)], "args[0]", refuses_all)
        assert tried <= refusal.TRIALS

    @given(st.lists(st.integers(0, 3), max_size=6), st.sampled_from(["list", "tuple", "dict", "attribute"]))
    def test_the_way_leads_to_the_part(self, steps: list[int], kind: str) -> None:
        obj: Any = LOCK
        for place in steps:
            items = [0, 1, 2, 3]
            items[place] = obj
            if kind == "list":
                obj = items
            elif kind == "tuple":
                obj = tuple(items)
            elif kind == "dict":
                obj = dict(enumerate(items))
            else:
                obj = Plain(**{f"a{n}": item for n, item in enumerate(items)})
        path, _, _ = explain(obj, "obj", pickle.dumps).rpartition(": ")
        assert eval(path, {"obj": obj}) is LOCK


class Hostile:
    """Raises whatever it is asked."""

    def __init__(self, error: type[BaseException]) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")(name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise object.__getattribute__(self, "_error")("reduce")

    def __repr__(self) -> str:
        raise object.__getattribute__(self, "_error")("repr")


class EndlessReduce:
    def __reduce__(self) -> Any:
        return EndlessReduce, (EndlessReduce(),)


class TestHostileObjects:
    @pytest.mark.parametrize(
        "error", [AttributeError, ZeroDivisionError, SystemExit, GeneratorExit, RecursionError]
    )
    @pytest.mark.parametrize(
        "wrap", [lambda obj: obj, lambda obj: [1, obj], lambda obj: {obj: 1}, lambda obj: Plain(a=obj)]
    )
    def test_nothing_raises_because_of_the_object(
        self, error: type[BaseException], wrap: Callable[[Any], Any]
    ) -> None:
        obj = wrap(Hostile(error))
        assert explain(obj, "args[0]", by_value).startswith("args[0]")
        assert "args[0]" in str(refuse(obj, "args[0]", TypeError("no"), by_value))
        assert describe(Hostile(error)).endswith(".Hostile")
        assert error.__name__ in safe_repr(Hostile(error), 200)

    def test_an_object_that_reduces_to_ever_new_objects_ends(self) -> None:
        assert explain(EndlessReduce(), "args[0]", pickle.dumps).startswith("args[0]")

    def test_an_interrupt_is_not_swallowed(self) -> None:
        def dumps(obj: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            explain([1], "args[0]", dumps)

    def test_an_object_that_raises_an_interrupt_is_named_without_being_asked_again(self) -> None:
        def dumps(obj: object) -> None:
            raise KeyboardInterrupt

        assert "args[0]: a list" in str(refuse([1], "args[0]", KeyboardInterrupt(), dumps))

    def test_what_refuses_only_once_is_still_named(self) -> None:
        assert "args[0]: a list" in str(refuse([1], "args[0]", TypeError("no"), pickle.dumps))
        assert explain([1], "args[0]", pickle.dumps) == "args[0]: a list"

    def test_a_proxy_with_nothing_behind_it_is_described(self) -> None:
        obj = Plain()
        proxy = weakref.proxy(obj)
        del obj
        assert describe(proxy) == "a weak reference"
        assert safe_repr(proxy)

    def test_a_cause_whose_text_cannot_be_had_does_no_harm(self) -> None:
        class OddError(Exception):
            def __str__(self) -> str:
                raise SystemExit

        assert "its text could not be had" in str(refuse(LOCK, "args[0]", OddError(), pickle.dumps))


def json_module() -> types.ModuleType:
    import json

    return json


async def coroutine() -> None: ...


class TestTheWords:
    def test_an_open_file_is_named_with_its_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # a long path is cut
        (tmp_path / "a").mkdir()
        with open("a/data.csv", "w") as text, open("a/data.csv", "rb") as binary:
            assert describe(text) == describe(text.buffer) == "an open file ('a/data.csv')"
            assert describe(binary).startswith("an open file (")
        assert describe(text).startswith("a closed file (")

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (threading.Lock, "a thread lock"),
            (threading.RLock, "a thread lock"),
            (threading.Event, "a thread event"),
            (threading.Condition, "a thread condition"),
            (threading.BoundedSemaphore, "a thread semaphore"),
            (threading.local, "thread-local data"),
            (lambda: threading.Thread(name="reader"), "a thread ('reader')"),
            (queue.Queue, "a queue"),
            (queue.SimpleQueue, "a queue"),
            (lambda: (i for i in ()), "a generator (TestTheWords.<lambda>.<locals>.<genexpr>)"),
            (sys._getframe, "a running frame"),
            (json_module, "a module (json)"),
            (lambda: weakref.ref(Plain), "a weak reference"),
            (weakref.WeakSet, "a set of weak references"),
            (weakref.WeakValueDictionary, "a dictionary of weak references"),
            (lambda: memoryview(b""), "a memoryview"),
            (lambda: vars(Plain), "a read-only view of a dictionary"),
            ({}.keys, "a view of a dictionary"),
            (lambda: mmap.mmap(-1, 1), "a memory-mapped file"),
            (lambda: re.match("a", "a"), "a match of a regular expression"),
            (lambda: contextvars.ContextVar("name"), "a context variable"),
            (concurrent.futures.Future, "a future"),
            (concurrent.futures.ThreadPoolExecutor, "an executor"),
            (lambda: coroutine.__code__, "a code object"),
            (Plain, "a tests.unit.test_refusal.Plain"),
            (lambda: [1], "a list"),
            (lambda: 1, "an int"),
            (lambda: None, "a NoneType"),
            (lambda: len, "a built-in function (len)"),
            (lambda: where, "a function (where)"),
            (lambda: Plain, "a class (tests.unit.test_refusal.Plain)"),
            (io.StringIO, "an _io.StringIO"),
            (io.BytesIO, "an _io.BytesIO"),
        ],
    )
    def test_a_kind_is_called_by_its_everyday_name(self, make: Callable[[], Any], words: str) -> None:
        assert describe(make()).replace(__name__, "tests.unit.test_refusal") == words

    def test_connections_sockets_and_programs_are_named(self) -> None:
        connection = sqlite3.connect(":memory:")
        try:
            assert describe(connection) == "a database connection"
            assert describe(connection.cursor()) == "a database cursor"
        finally:
            connection.close()
        with socket.socket() as open_socket:
            assert describe(open_socket) == "a socket"
        assert describe(subprocess.Popen.__new__(subprocess.Popen)) == "a running program"

    def test_a_connection_of_any_database_library_is_recognised(self) -> None:
        class Connection:
            def cursor(self) -> None: ...
            def commit(self) -> None: ...
            def rollback(self) -> None: ...

        assert describe(Connection()) == "a database connection"

    def test_coroutines_and_loops_are_named(self) -> None:
        waiting = coroutine()
        assert describe(waiting) == "a coroutine (coroutine)"
        waiting.close()
        loop = asyncio.new_event_loop()
        assert describe(loop) == "an event loop"
        loop.close()

    def test_local_things_are_called_local(self) -> None:
        class Local: ...

        def function() -> None: ...

        assert describe(Local).startswith("a local class (")
        assert describe(function).startswith("a local function (")
        assert describe(lambda: None) == f"a lambda ({refusal_path()}:{line_of_lambda()})"

    def test_a_traceback_is_named(self) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            1 / 0  # noqa: B018
        assert describe(caught.tb) == "a traceback"

    def test_a_thread_of_the_users_own_class_is_not_taken_apart(self) -> None:
        class Reader(threading.Thread): ...

        assert (
            explain(Plain(reader=Reader(name="r")), "args[0]", by_value) == "args[0].reader: a thread ('r')"
        )


def refusal_path() -> str:
    return (lambda: None).__code__.co_filename[-80:] if len(__file__) <= 80 else "..." + __file__[-80:]


def line_of_lambda() -> int:
    import inspect

    lines, first = inspect.getsourcelines(TestTheWords.test_local_things_are_called_local)
    return first + next(number for number, line in enumerate(lines) if "describe(lambda" in line)


class TestTheError:
    def test_it_names_the_place_the_kind_the_cause_and_the_cure(self, tmp_path: Path) -> None:
        with open(tmp_path / "data.csv", "w") as handle:
            obj = Plain(handle=handle)
            with pytest.raises(TypeError) as caught:
                pickle.dumps(obj)
            error = refuse(obj, "args[0]", caught.value, pickle.dumps)
        assert type(error) is UnpicklableError
        assert isinstance(error, (pickle.PicklingError, TypeError))
        assert error.__cause__ is caught.value
        assert str(error).startswith("cannot send to a worker: args[0].handle: an open file (")
        assert "pass its path" in str(error)
        assert "TypeError: cannot pickle" in str(error)

    def test_a_result_is_returned_not_sent(self) -> None:
        error = refuse(LOCK, "the result", TypeError("no"), pickle.dumps)
        assert str(error).startswith("cannot return from a worker: the result: a thread lock.")

    def test_it_can_be_pickled_itself(self) -> None:
        error = refuse(LOCK, "args[0]", TypeError("no"), pickle.dumps)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    @pytest.mark.parametrize("dumps", [pickle.dumps, by_value])
    def test_what_is_nested_too_deep_is_said_to_be(self, dumps: Callable[[Any], object]) -> None:
        deep: Any = None
        for _ in range(100_000):
            deep = [deep]
        error = refuse({"tree": deep}, "args[0]", RecursionError("too deep"), dumps)
        assert str(error).startswith(
            "cannot send to a worker: args[0]['tree']: a list that is nested too deep"
        )

    def test_a_long_chain_of_nodes_is_not_spelled_out(self) -> None:
        node: Any = None
        for _ in range(100_000):
            node = Plain(next=node)
        error = refuse([node], "args[0]", RecursionError("too deep"), pickle.dumps)
        assert "args[0][0]: a " in str(error)
        while node is not None:  # one by one: taking down the chain at once is deep as well
            node = vars(node).pop("next")

    def test_a_long_cause_is_cut(self) -> None:
        assert len(str(refuse(LOCK, "args[0]", TypeError("x" * 100_000), pickle.dumps))) < 1_000


@dataclass
class Record:
    name: str
    rows: list[int]
    secret: str = field(default="hidden", repr=False)


class Loud:
    def __repr__(self) -> str:
        return "Loud\n  (on two lines)"


class CountingList(list[int]):
    pass


class TestSafeRepr:
    @pytest.mark.parametrize(
        "obj",
        [
            1,
            -1.5,
            "text",
            b"bytes",
            None,
            True,
            [1, 2],
            (),
            (1,),
            (1, 2),
            {},
            {"a": [1]},
            set(),
            {1},
            frozenset({1}),
            frozenset(),
            Point(1, "y"),
            range(3),
            collections.deque([1]),
            2j,
            ...,
            bytearray(b"x"),
            [[[]]],
        ],
    )
    def test_what_is_short_and_harmless_looks_as_it_always_does(self, obj: object) -> None:
        assert safe_repr(obj) == repr(obj)

    @pytest.mark.parametrize(
        ("obj", "text"),
        [
            (Plain(), "<tests.unit.test_refusal.Plain object>"),
            (Loud(), "Loud (on two lines)"),
            (Record("a", [1]), "Record(name='a', rows=[1])"),
            (CountingList([1]), "CountingList([1])"),
            (collections.OrderedDict(a=1), "OrderedDict({'a': 1})"),
            (collections.Counter("aa"), "Counter({'a': 2})"),
            (json_module, "<function json_module>"),
        ],
    )
    def test_other_things_have_a_short_form(self, obj: object, text: str) -> None:
        assert safe_repr(obj).replace(__name__, "tests.unit.test_refusal") == text

    def test_a_huge_number_is_not_spelled_out(self) -> None:
        assert safe_repr(1 << 100_000) == "<int of 100001 bits>"

    def test_an_array_shows_its_shape_and_not_its_content(self) -> None:
        numpy = pytest.importorskip("numpy")
        assert safe_repr(numpy.zeros((1000, 1000))) == "<ndarray shape=(1000, 1000) float64>"

    def test_what_is_large_is_not_looked_through(self) -> None:
        asked = 0

        class Item:
            def __repr__(self) -> str:
                nonlocal asked
                asked += 1
                return "item"

        items = [Item() for _ in range(100_000)]
        for obj in (
            items,
            tuple(items),
            set(items),
            dict.fromkeys(items),
            {1: items},
            [items] * 1000,
            Record("a", items),
        ):  # type: ignore[arg-type]
            asked = 0
            assert len(safe_repr(obj)) <= 60
            assert asked <= 70

    def test_a_list_that_holds_itself_ends(self) -> None:
        items: list[Any] = []
        items.append(items)
        assert safe_repr(items) == "[[[[[[...]]]]]]"

    def test_what_is_nested_deep_ends(self) -> None:
        deep: Any = None
        for _ in range(100_000):
            deep = (deep,)
        assert len(safe_repr(deep)) <= 60

    def test_a_repr_that_raises_is_said_to(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise SystemExit(3)

        assert safe_repr(Broken(), 200).endswith("Broken object, whose repr raises SystemExit>")
        assert "repr raises SystemExit" in safe_repr([Broken()], 200)

    def test_an_interrupt_in_a_repr_is_not_swallowed(self) -> None:
        class Interrupting:
            def __repr__(self) -> str:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            safe_repr(Interrupting())

    @given(
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
        ),
        st.integers(4, 200),
    )
    def test_it_is_as_short_as_asked_and_begins_as_repr_does(self, obj: Any, limit: int) -> None:
        text = safe_repr(obj, limit)
        assert len(text) <= limit
        if len(repr(obj)) <= limit and "[" * 6 not in repr(obj):
            depth = max(repr(obj).count(opening) for opening in "[({")
            if depth <= 5:
                assert text == repr(obj)
