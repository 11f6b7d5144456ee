"""A checkpoint keeps what is finished: the same call, made again, runs only what is missing, and tells when it is another.

What was computed is counted in a file, one line for each time that the function ran.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import pickle
import signal
import sqlite3
import threading
import tracemalloc
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyhands import CheckpointError, Failure, UnpicklableError, parallel_map
from manyhands.functions import ParallelFunction
from manyhands.scheduling.fingerprint import fingerprint, key
from tests.conftest import Program, descendants


class Counted:
    """A function that squares, and the file that counts its calls.

    Args:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        log = str(folder / "calls")
        bad = str(folder / "bad")

        def square(x: int, *, plus: int = 0) -> int:
            with open(log, "a") as file:
                file.write(f"{x}\n")
            if os.path.exists(bad) and str(x) in open(bad).read().split():  # noqa: SIM115
                raise ValueError(f"no {x}")
            return x * x + plus

        self.path = str(folder / "run.db")
        self.function: ParallelFunction[Any, Any] = parallel_map(square)
        self.kept = self.function.options(checkpoint=self.path, max_workers=2)
        self._log, self._bad = Path(log), Path(bad)

    def computed(self) -> list[int]:
        """Return for which items the function has run since this was asked last."""
        if not self._log.exists():
            return []
        found = sorted(map(int, self._log.read_text().split()))
        self._log.unlink()
        return found

    def fails_for(self, *items: int) -> None:
        self._bad.write_text(" ".join(map(str, items)))


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    """Return a function that counts its calls, and keeps its results."""
    return Counted(tmp_path)


def stored(path: str | Path) -> list[int]:
    """Return the indexes of the results in a file."""
    with closing(sqlite3.connect(path)) as file:
        return [index for (index,) in file.execute("SELECT item FROM results ORDER BY item")]


WAYS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "map": lambda f, xs: f.map(xs),
    "starmap": lambda f, xs: f.starmap((x,) for x in xs),
    "imap": lambda f, xs: list(f.imap(xs)),
    "imap of an iterator": lambda f, xs: list(f.imap(iter(xs))),
    "imap_unordered": lambda f, xs: sorted(f.imap_unordered(xs)),
    "amap": lambda f, xs: asyncio.run(f.amap(xs)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_the_same_call_again_computes_nothing_and_answers_the_same(
    way: str, backend: str, counted: Counted
) -> None:
    f = counted.kept.options(backend=backend)
    wanted = [x * x for x in range(50)]
    assert WAYS[way](f, range(50)) == wanted
    assert counted.computed() == list(range(50))
    assert WAYS[way](f, range(50)) == wanted
    assert counted.computed() == []


@pytest.mark.parametrize("way", WAYS)
def test_only_what_is_missing_is_run_and_the_answer_is_whole_and_in_order(way: str, counted: Counted) -> None:
    WAYS[way](counted.kept, range(60))
    counted.computed()
    missing = [0, 1, 7, 30, 31, 32, 59]
    with closing(sqlite3.connect(counted.path)) as file, file:
        file.execute(f"DELETE FROM results WHERE item IN ({','.join(map(str, missing))})")
    assert WAYS[way](counted.kept, range(60)) == [x * x for x in range(60)]
    assert counted.computed() == missing


@pytest.mark.parametrize("count", [8, 20, 24])  # 8 and 24: the input ends where a look into the file ends
def test_a_call_of_which_all_is_there_starts_no_worker(count: int, counted: Counted) -> None:
    wanted = counted.kept.options(backend="serial").map(range(count))
    assert counted.kept.map(range(count)) == wanted
    assert list(counted.kept.imap(iter(range(count)))) == wanted
    assert descendants(os.getpid()) == []


def test_workers_that_are_forked_meanwhile_leave_the_file_alone(counted: Counted) -> None:
    f = counted.kept.options(start_method="fork", max_tasks_per_child=2, chunksize=1)
    assert f.map(range(20)) == [x * x for x in range(20)]
    assert f.map(range(30)) == [x * x for x in range(30)]
    assert counted.computed() == list(range(30))
    with closing(sqlite3.connect(counted.path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# the end of the program

PROGRAM = """
import os, signal, sys
from manyhands import parallel_map

path, way, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
got = []

def took(result):
    got.append(result)
    if len(got) == last:
        print("ready", flush=True)
        signal.pause()

def square(x):
    with open(path + ".calls", "a") as file:
        file.write(f"{x}\\n")
    return x * x

f = parallel_map(square, checkpoint=path, max_workers=2, chunksize=3, on_result=took if last else None)
n = range(100)
results = f.map(n) if way == "map" else list(f.imap(iter(n)))
assert results == [x * x for x in n]
print(len(got))
"""


@pytest.mark.parametrize("way", ["map", "imap"])
@pytest.mark.parametrize("to", ["group", "program"])
def test_after_sigkill_every_result_that_had_come_is_in_the_file_and_the_rest_is_run(
    way: str, to: str, run_program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "run.db"
    first = run_program(PROGRAM, args=(str(path), way, "20"), send_signal=signal.SIGKILL, to=to)
    assert first.code == -signal.SIGKILL
    log = Path(f"{path}.calls")
    ran = set(map(int, log.read_text().split()))
    log.unlink()
    second = run_program(PROGRAM, args=(str(path), way, "0"))
    assert (second.code, second.err) == (0, "")
    again = sorted(map(int, log.read_text().split()))
    assert len(again) == len(set(again)) <= 80
    assert ran | set(again) == set(range(100))
    assert stored(path) == list(range(100))
    assert not Path(f"{path}-wal").exists()


def test_after_ctrl_c_the_results_so_far_are_kept(run_program: Program, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    first = run_program(PROGRAM, args=(str(path), "map", "20"), send_signal=signal.SIGINT, to="program")
    assert "KeyboardInterrupt" in first.err
    assert len(stored(path)) >= 20
    second = run_program(PROGRAM, args=(str(path), "map", "0"))
    assert (second.code, second.err) == (0, "")


def test_results_are_kept_when_the_call_ends_by_an_exception(counted: Counted) -> None:
    counted.fails_for(30)
    with pytest.raises(ValueError, match="no 30"):
        counted.kept.options(chunksize=1).map(range(60))
    assert set(range(30)) <= set(stored(counted.path))
    counted.computed()
    counted.fails_for()
    assert counted.kept.map(range(60)) == [x * x for x in range(60)]
    assert counted.computed()[0] == 30


def test_results_are_kept_when_the_iterator_is_closed(counted: Counted) -> None:
    results = counted.kept.imap(itertools.count())
    assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
    results.close()  # type: ignore[attr-defined]
    assert set(range(10)) <= set(stored(counted.path))


# what is compared


def test_changed_items_are_run_again_and_one_warning_says_how_many(counted: Counted) -> None:
    items = list(range(20))
    counted.kept.map(items)
    counted.computed()
    items[4], items[9] = 104, 109
    with pytest.warns(UserWarning, match=r"run\.db: 2 items were others") as caught:
        assert counted.kept.map(items) == [x * x for x in items]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert counted.computed() == [104, 109]
    counted.kept.map(items)
    assert counted.computed() == []


def test_inputs_that_grow_or_shrink_cost_only_what_is_new(counted: Counted) -> None:
    counted.kept.map(range(10))
    assert counted.kept.map(range(15)) == [x * x for x in range(15)]
    assert counted.computed() == list(range(15))
    assert counted.kept.map(range(5)) == [0, 1, 4, 9, 16]
    assert counted.kept.map([]) == []
    assert counted.kept.map(range(16)) == [x * x for x in range(16)]
    assert counted.computed() == [15]


_seen: list[Any] = []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(
        st.lists(st.sampled_from([0, 1, True, 1.0, -0.0, 0.0, "1", b"1", (1,), None]), max_size=12),
        max_size=4,
    )
)
def test_whatever_the_inputs_the_answers_are_those_of_the_loop_and_nothing_is_computed_twice(
    runs: list[list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def kind(x: Any) -> Any:
        _seen.append(x)  # a list around the function would be compared, and be another each time
        return type(x).__name__, repr(x)

    f = parallel_map(kind, backend="serial", checkpoint=tmp_path_factory.mktemp("run") / "run.db")
    known: dict[int, str] = {}
    for items in runs:
        _seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert f.map(items) == [(type(x).__name__, repr(x)) for x in items]
        assert [*map(repr, _seen)] == [repr(x) for i, x in enumerate(items) if known.get(i) != repr(x)]
        known.update((i, repr(x)) for i, x in enumerate(items))


def made(source: str, name: str = "f", *, file: str = "one.py", **names: Any) -> Any:
    """Return a function of ``__main__`` from its source."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(source, file, "exec"), space)
    return space[name]


BASE = """
K = 3
def helper(x): return x + 1
def around(k):
    def f(x, y=1, *, z=2):
        "What it does."
        inner = lambda: (k, K)
        return helper(x) + len(inner()) in {"a", "b"}
    return f
f = around(5)
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("len(inner())", "max(inner())", "the code of around.<locals>.f()"),
        ("(k, K)", "(K, k)", "the code of around.<locals>.f()"),
        ('{"a", "b"}', '{"a", "c"}', "the code of around.<locals>.f()"),
        ("y=1", "y=True", "the default of y in around.<locals>.f()"),
        ("z=2", "z=3", "the default of z in around.<locals>.f()"),
        ("around(5)", "around(6)", "the variable k around around.<locals>.f()"),
        ("x + 1", "x + 2", "the code of helper()"),
        ("K = 3", "K = 4", "the global K of around.<locals>.f()"),
    ],
)
def test_a_changed_part_of_a_function_is_noticed_by_name(old: str, new: str, said: str) -> None:
    assert old in BASE
    before, after = fingerprint(made(BASE), {}), fingerprint(made(BASE.replace(old, new)), {})
    assert [part for part in {**before, **after} if before.get(part) != after.get(part)] == [said]


@pytest.mark.parametrize(
    "source", ["\n\n# moved\n" + BASE, BASE.replace("What it does.", "What it does, said better.")]
)
def test_a_function_that_was_moved_or_described_anew_is_the_same(source: str) -> None:
    assert fingerprint(made(BASE), {}) == fingerprint(made(source, file="/another/folder/two.py"), {})


def test_a_class_in_a_function_may_be_moved_too() -> None:
    source = "def f(x):\n    class A:\n        y = 7\n    return A.y + x\n"
    moved = fingerprint(made("\n" * 400 + source), {})
    assert fingerprint(made(source), {}) == fingerprint(made("\n\n" + source), {}) == moved
    assert fingerprint(made(source.replace("7", "8")), {}) != moved


def test_where_a_function_lies_is_not_compared_even_if_it_asks() -> None:
    source = "def f(x): return __file__, __name__"
    assert fingerprint(made(source, __file__="one.py"), {}) == fingerprint(
        made(source, __file__="two.py"), {}
    )


def test_a_class_around_a_function_is_compared_by_its_methods() -> None:
    source = """
def around():
    class A:
        LIMIT = 3
        def go(self): return super().__repr__()
    def f(x, kind=A): return A().go(), kind
    return f
f = around()
"""
    one = fingerprint(made(source), {})
    assert fingerprint(made(source), {}) == one
    assert fingerprint(made(source.replace("repr", "str")), {}) != one
    assert fingerprint(made(source.replace("= 3", "= 4")), {}) != one


class Callable_:  # noqa: N801
    """A callable object.

    Args:
        k: its state.
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, x: int) -> int:
        return x * self.k

    def method(self, x: int) -> int:
        return x + self.k


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (abs, abs, round),
        (partial(pow, 2), partial(pow, 2), partial(pow, 3)),
        (partial(pow, exp=2), partial(pow, exp=2), partial(pow, exp=3)),
        (Callable_(1), Callable_(1), Callable_(2)),
        (Callable_(1).method, Callable_(1).method, Callable_(2).method),
        (str.upper, str.upper, str.lower),
        ("a".join, "a".join, "b".join),
        (int, int, float),
        (Callable_, Callable_, int),
    ],
)
def test_callables_of_every_kind_are_told_from_others(one: Any, same: Any, other: Any) -> None:
    assert fingerprint(one, {}) == fingerprint(same, {})
    assert fingerprint(one, {}) != fingerprint(other, {})


def test_a_part_that_cannot_be_compared_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the constant lock cannot be compared"):
        parallel_map(abs, checkpoint=tmp_path / "run.db").map([1], lock=threading.Lock())
    assert not (tmp_path / "run.db").exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", b"1"),
        ((1, 2), [1, 2]),
        ({1, 2}, frozenset({1, 2})),
        ([{1}, {2}], [{1}, {1}]),
        (made("def f(x): return 1"), made("def f(x): return 2")),
        ([made("f = lambda: 1")], [made("f = lambda: 2")]),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    ],
)
def test_items_that_differ_have_different_keys(one: Any, other: Any) -> None:
    assert key(one) is not None
    assert key(one) == key(one)
    assert key(one) != key(other)


def test_keys_and_fingerprints_are_the_same_in_every_run(run_program: Program) -> None:
    program = """
    from pathlib import Path
    from manyhands.scheduling.fingerprint import fingerprint, key
    WORDS = {"one", "two", "three", "four"}
    def helper(x):
        return x in {"one", "two", "three", "four"}
    def f(x, words=frozenset(WORDS)):
        return helper(x)
    items = [WORDS, [frozenset(WORDS), {1: WORDS}], (Path("a"), {("b", frozenset(WORDS))}), "x", f]
    print([key(item).hex() for item in items], fingerprint(f, {"w": [WORDS]}))
    """
    seeds = [run_program(program, environment={"PYTHONHASHSEED": seed}) for seed in ("1", "2", "3")]
    assert [ran.err for ran in seeds] == ["", "", ""]
    assert len({ran.out for ran in seeds}) == 1


def test_items_that_cannot_be_compared_are_run_each_time_with_a_warning(counted: Counted) -> None:
    locks = [threading.Lock() for _ in range(3)]
    f = parallel_map(lambda lock: lock.locked(), backend="serial", checkpoint=counted.path)
    for _ in range(2):
        with pytest.warns(UserWarning, match="3 items cannot be compared"):
            assert f.map(locks) == [False, False, False]
    assert stored(counted.path) == []


# other files


def test_another_function_is_refused_and_the_file_is_as_it_was(counted: Counted) -> None:
    counted.kept.map(range(3))
    with pytest.raises(
        CheckpointError, match=r"run\.db holds results of .*square, not of abs\. Delete the file"
    ):
        parallel_map(abs, checkpoint=counted.path).map([1])
    with pytest.raises(CheckpointError, match="what has changed: the constant plus"):
        counted.kept.map(range(3), plus=1)
    counted.computed()
    assert counted.kept.map(range(3)) == [0, 1, 4]
    assert counted.computed() == []


def test_items_that_are_unpacked_are_not_taken_for_items_that_are_not(tmp_path: Path) -> None:
    f = parallel_map(max, checkpoint=tmp_path / "run.db")
    assert f.map([(1, 2), (4, 3)]) == [2, 4]
    with pytest.raises(CheckpointError, match="what has changed: how an item becomes arguments"):
        f.starmap([(1, 2), (4, 3)])


def test_what_is_not_a_checkpoint_is_refused_and_left_untouched(counted: Counted) -> None:
    path = Path(counted.path)
    path.write_text("my thesis " * 100)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        counted.kept.map(range(3))
    assert path.read_text() == "my thesis " * 100
    path.unlink()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE results (item, key, result)")
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        counted.kept.map(range(3))
    assert path.read_bytes() == before
    assert counted.computed() == []


def test_a_folder_or_a_pipe_is_refused_at_once(counted: Counted, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            counted.kept.options(checkpoint=path).map(range(3))


def test_a_damaged_file_is_named(counted: Counted) -> None:
    counted.kept.map(range(500))
    path = Path(counted.path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(CheckpointError, match="is damaged"):
        counted.kept.map(range(500))


def test_a_file_that_cannot_be_made_is_named(counted: Counted, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing.run\.db cannot be used"):
        counted.kept.options(checkpoint=tmp_path / "missing" / "run.db").map(range(3))
    assert counted.computed() == []


def test_two_calls_of_a_program_cannot_have_the_file_at_once(counted: Counted) -> None:
    first = counted.kept.imap(range(10))
    assert next(first) == 0
    for _ in range(2):
        with pytest.raises(CheckpointError, match="is in use"):
            counted.kept.map(range(10))
    assert list(first) == [x * x for x in range(1, 10)]
    assert counted.kept.map(range(10)) == [x * x for x in range(10)]


def test_another_program_is_told_at_once_that_the_file_is_in_use(
    counted: Counted, run_program: Program
) -> None:
    first = counted.kept.imap(range(10))
    assert next(first) == 0
    with pytest.raises(CheckpointError):  # the refusal itself must not loosen the lock
        counted.kept.map(range(10))
    ran = run_program(
        "import sys; from manyhands import parallel_map\nparallel_map(abs, checkpoint=sys.argv[1]).map([1])",
        args=(counted.path,),
    )
    assert "CheckpointError" in ran.err
    assert "is in use" in ran.err
    assert list(first) == [x * x for x in range(1, 10)]
    assert stored(counted.path) == list(range(10))


def test_a_full_disk_ends_the_call_and_what_was_written_is_kept(run_program: Program, tmp_path: Path) -> None:
    program = """
    import resource, signal, sys
    from manyhands import CheckpointError, parallel_map
    def text(x):
        return f"{x:04}" * 25_000
    f = parallel_map(text, checkpoint=sys.argv[1], backend="serial")
    if len(sys.argv) == 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        print(f.map(range(50)) == [text(x) for x in range(50)])
    except CheckpointError as error:
        print(error)
    """
    path = tmp_path / "run.db"
    full = run_program(program, args=(str(path),))
    assert "run.db cannot be used (" in full.out
    assert full.err == ""
    kept = stored(path)
    assert kept
    assert run_program(program, args=(str(path), "room")).out == "True\n"
    assert len(stored(path)) == 50


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(counted: Counted) -> None:
    counted.kept.map(range(3))
    counted.computed()
    Path(counted.path).chmod(0o444)
    with pytest.raises(CheckpointError, match="cannot be used"):
        counted.kept.map(range(5))
    assert counted.computed() == []


# failures and callbacks


def test_failures_are_tried_again_in_the_next_run(counted: Counted) -> None:
    for on_error in ("collect", "skip"):
        counted.fails_for(3, 7)
        results = counted.kept.options(on_error=on_error).map(range(10))
        assert len([each for each in results if not isinstance(each, Failure)]) == 8
        assert {3, 7} <= set(counted.computed())
    counted.fails_for()
    assert counted.kept.map(range(10)) == [x * x for x in range(10)]
    assert counted.computed() == [3, 7]


def test_what_a_function_puts_in_place_of_a_failure_is_not_kept(counted: Counted) -> None:
    counted.fails_for(3)
    assert counted.kept.options(on_error=lambda failure: -1).map(range(5)) == [0, 1, 4, -1, 16]
    assert stored(counted.path) == [0, 1, 2, 4]


def test_errors_name_the_index_in_the_whole_input(counted: Counted) -> None:
    counted.kept.map(range(10))
    counted.fails_for(12)
    with pytest.raises(ValueError, match="no 12") as caught:
        counted.kept.map(range(15))
    assert caught.value.__notes__[0].startswith("manyhands: item 12: ")
    results = counted.kept.options(on_error="collect").map(range(15))
    assert [(each.index, each.item) for each in results.errors] == [(12, 12)]  # type: ignore[attr-defined]


def test_on_result_is_called_for_what_is_computed_and_not_for_what_was_there(counted: Counted) -> None:
    counted.kept.map(range(5))
    seen: list[int] = []
    counted.kept.options(on_result=seen.append).map(range(8))
    assert sorted(seen) == [25, 36, 49]


def test_a_result_that_cannot_be_pickled_is_named_and_those_before_it_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    f = parallel_map(lambda x: (lambda: x) if x == 5 else x, checkpoint=path, chunksize=1, max_workers=1)
    with pytest.raises(UnpicklableError, match=r"item 5 of .*: the result: .* cannot be kept in .*run\.db"):
        f.map(range(10))
    assert set(range(5)) <= set(stored(path))


def test_a_result_that_cannot_be_read_any_more_is_computed_again(counted: Counted) -> None:
    counted.kept.map(range(3))
    counted.computed()
    with closing(sqlite3.connect(counted.path)) as file, file:
        gone = pickle.dumps(1).replace(b"K\x01", b"cgone\nThing\n")
        file.execute("UPDATE results SET result = ? WHERE item = 1", (gone,))
    with pytest.warns(
        UserWarning, match="1 item was another, or its result could not be read, and ran again"
    ):
        assert counted.kept.map(range(3)) == [0, 1, 4]
    assert counted.computed() == [1]


# laziness


def test_an_endless_input_goes_on_where_it_was(counted: Counted) -> None:
    for first in (0, 200):
        results = counted.kept.imap(itertools.count())
        assert list(itertools.islice(results, 200 + first)) == [x * x for x in range(200 + first)]
        results.close()  # type: ignore[attr-defined]
        assert all(x >= first for x in counted.computed())


@pytest.mark.parametrize("kept", [0, 30, 200])
def test_no_more_is_read_ahead_than_the_buffersize_also_of_what_was_there(
    counted: Counted, kept: int
) -> None:
    counted.kept.map(range(kept))
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        for x in range(200):
            read = x + 1
            yield x

    for taken, result in enumerate(counted.kept.options(buffersize=4).imap(numbers())):
        assert result == taken * taken
        assert read - taken <= 4 + 1


def test_an_input_that_fails_does_so_after_the_results_before_it(counted: Counted) -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise OSError("the input")

    for _ in range(2):
        results = counted.kept.imap(numbers())
        assert list(itertools.islice(results, 5)) == [0, 1, 4, 9, 16]
        with pytest.raises(OSError, match="the input"):
            next(results)
    assert counted.computed() == [0, 1, 2, 3, 4]


def test_items_that_a_deadline_leaves_undone_are_failures_and_run_the_next_time(counted: Counted) -> None:
    counted.kept.map(range(3))
    results = counted.kept.options(deadline=1e-6, on_error="collect").map(list(range(6)))
    assert len(results) == 6
    assert [each for each in results if not isinstance(each, Failure)] == [0, 1, 4]
    assert counted.kept.map(range(6)) == [x * x for x in range(6)]


# beside tasks that run

_go = threading.Event()


def wait_or_let_go(x: int) -> int:
    if x == 0:
        assert _go.wait(60)
    elif x == 500:
        _go.set()
    return x


@pytest.fixture
def but_two(tmp_path: Path) -> ParallelFunction[[int], int]:
    """Return a function whose file has 1,000 results but those of two: one waits for the other."""
    path = tmp_path / "run.db"
    f = parallel_map(wait_or_let_go, backend="threads", max_workers=2, checkpoint=path)
    _go.set()
    f.map(range(1_000))
    _go.clear()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DELETE FROM results WHERE item IN (0, 500)")
    return f


@pytest.mark.parametrize("way", [way for way in WAYS if way != "starmap"])
def test_workers_are_not_kept_waiting_by_results_that_are_there(way: str, but_two: Any) -> None:
    f = but_two.options(buffersize=600) if way.startswith("imap") else but_two
    assert WAYS[way](f, range(1_000)) == list(range(1_000))


def test_results_that_are_there_come_while_tasks_run(but_two: Any) -> None:
    results = but_two.options(buffersize=10).imap_unordered(range(400))
    assert sorted(itertools.islice(results, 399)) == list(range(1, 400))
    _go.set()
    assert list(results) == [0]


def test_large_results_that_are_there_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    f = parallel_map(lambda x: bytes(1 << 20), backend="serial", checkpoint=tmp_path / "run.db")
    for _ in f.imap(range(60)):
        pass
    tracemalloc.start()
    try:
        for _ in f.imap(iter(range(60))):
            pass
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"seed": 1}, {"seed": 2}, "seed"),
        ({"seed": 1}, {}, "seed"),
        ({"initializer": setattr, "initargs": (math, "manyhands", 1)},
         {"initializer": setattr, "initargs": (math, "manyhands", 2)}, r"initargs\[2\]"),
    ],
)  # fmt: skip
def test_what_results_depend_on_beside_the_function_is_compared(
    first: dict[str, Any], second: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "run.db")
    parallel_map(float, checkpoint=path, **first).map(range(3))
    parallel_map(float, checkpoint=path, **first).map(range(3))
    with pytest.raises(CheckpointError, match=f"what has changed: .*{said}"):
        parallel_map(float, checkpoint=path, **second).map(range(3))
