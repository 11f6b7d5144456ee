"""The programs of the recipes run, ours without a guard and from anywhere, and say the same as those of the standard library."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import Program

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
OURS = sorted(RECIPES.glob("*.py"))
THEIRS = sorted((RECIPES / "standard_library").glob("*.py"))

#: Of these, each line that the standard library's program prints is printed by ours as well.
SAME = [
    "over_a_list", "several_arguments", "streams", "chunks", "failures", "checkpoints", "one_job", "set_up", "good_order",
    "pipelines", "conversations", "debugging", "shared_arrays", "locks", "counters",
    "registries", "images", "large",
]  # fmt: skip


#: Programs that take long. From standard input the others are enough by default.
DEAR = {"chunks", "how_many_workers", "images", "large"}


def printed(name: str, run_program: Program, how: str = "file") -> str:
    """Return what a program prints without arguments. It is run once, by whichever process of the tests asks first."""
    import fcntl

    path = run_program.common / f"{how} {name.replace('/', ' ')}"
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(_run(name, run_program, how), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _run(name: str, run_program: Program, how: str) -> str:
    source = (RECIPES / f"{name}.py").read_text(encoding="utf-8")
    for module in re.findall(r"^(?:from|import) (numpy|skimage)\b", source, re.MULTILINE):
        if importlib.util.find_spec(module) is None:  # there are no wheels of it for the newest interpreters
            pytest.skip(f"{module} is not installed")
    # A short folder for temporary files: the standard library makes sockets there, whose paths must not be long.
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        ran = run_program(source, how=how, environment={"TMPDIR": folder})
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def lines(text: str) -> list[str]:
    """What a program has printed, without the figures that it has measured."""
    return [line for line in text.splitlines() if not line.startswith("measured:")]


def run(name: str, run_program: Program, how: str = "file") -> list[str]:
    return lines(printed(name, run_program, how))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_ours_runs_without_a_guard(path: Path, run_program: Program) -> None:
    assert "__name__ ==" not in path.read_text(encoding="utf-8")
    assert run(path.stem, run_program)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.stress] * (path.stem in DEAR)) for path in OURS],
    ids=lambda path: path.stem,
)
def test_ours_runs_from_standard_input(path: Path, run_program: Program) -> None:
    assert run(path.stem, run_program, how="stdin")


@pytest.mark.parametrize("path", THEIRS, ids=lambda path: path.stem)
def test_what_the_standard_library_needs_is_no_strawman(path: Path, run_program: Program) -> None:
    """It runs, and where both solve the same task, ours prints all that it prints."""
    theirs = run(f"standard_library/{path.stem}", run_program)
    assert theirs
    if path.stem in SAME:
        ours = run(path.stem, run_program)
        assert [line for line in theirs if line not in ours] == []


def test_every_recipe_has_a_program_of_each_kind() -> None:
    assert {path.name for path in THEIRS} <= {path.name for path in OURS}
    assert set(SAME) <= {path.stem for path in THEIRS}


def test_how_many_workers_measures_one_and_more_than_one(run_program: Program) -> None:
    out = printed("how_many_workers", run_program)
    assert out.startswith("cores: ")
    measured = re.findall(r"^measured: +(\d+) workers, \d+\.\d+ s for (\d+) nodes$", out, re.MULTILINE)
    assert len(measured) == 3
    assert measured[0][0] == "1"
    assert len({nodes for _, nodes in measured}) == 1


def test_reading_a_stream_is_never_far_ahead(run_program: Program) -> None:
    found = re.search(r"never more than (\d+) blocks ahead", printed("streams", run_program))
    assert found is not None
    assert 0 < int(found[1]) <= 64


def test_a_script_s_global_reaches_workers_of_every_start_method(run_program: Program) -> None:
    ran = run_program((RECIPES / "start_methods.py").read_text(encoding="utf-8"), args=("6",))
    assert lines(ran.out) == [
        f"{method}: 42, in another process: True" for method in ("template", "spawn", "fork")
    ]


def test_what_cannot_travel_is_refused_with_its_place(run_program: Program) -> None:
    said = dict(
        line.split(": ", 1) for line in run("what_travels", run_program) if ": " in line and line[0] != "("
    )
    works = [name for name, text in said.items() if text.startswith("works")]
    assert works == [
        "a lambda",
        "an object of a local class",
        "a module",
        "a file in memory",
        "an object that leaves its lock behind",
    ]
    refused = {name: text for name, text in said.items() if name not in works}
    assert all(text.startswith("cannot send to a worker: args[0]") for text in refused.values())
    assert "args[0]['jobs'][0]['lock']: a thread lock" in refused["a lock inside a list inside a dictionary"]
    assert "this.py" in refused["an open file"]


def test_a_failure_says_which_item_it_was(run_program: Program) -> None:
    said = run("failures", run_program)
    assert said[0].startswith("UnicodeDecodeError: ordinal not in range(128) at position")
    assert re.match(r"manyhands: item \d+: letters\(", said[1])
    assert "utf-8: 0 files left" in said
    (futures,) = (line for line in said if line.startswith("futures:"))
    assert not futures.startswith("futures: 0 ")
    (yielded,) = (line for line in said if line.startswith("imap:"))
    index = int(said[1].split()[2].rstrip(":"))
    assert yielded == f"imap: {index} results, then the exception"


def test_a_checkpoint_of_another_function_is_refused(run_program: Program) -> None:
    said = run("checkpoints", run_program)
    assert "second run: 400 results, of which at least 250 were there: True" in said
    assert said[-1].startswith("divisors.db holds results of divisors, not of abs.")


def test_each_key_is_computed_once_and_the_file_has_it_later(run_program: Program) -> None:
    said = run("caches", run_program)
    assert said == [
        "24 words, computed: 10",
        "hits: 14, misses: 10",
        "again: True computed: 0",
        "called: True computed: 0",
        "lines: 19 most syllables: 9 here: False",
        "syllables computed: 10",
        "first run: 82 letters, computed: 10",
        "second run: 82 letters, computed: 0",
    ]


def test_edges_of_images_and_their_histogram_are_those_of_the_loop(run_program: Program) -> None:
    said = run("images", run_program)
    assert re.fullmatch(r"images: \(\d{3}, 224, 224, 3\) uint8", said[0])
    assert said[-2:] == ["the same as the loop: True", "the histogram as well: True"]


def test_files_are_changed_in_place_and_a_changed_constant_is_seen(run_program: Program) -> None:
    said = run("large", run_program)
    assert "highest: True scaled: True" in said
    assert said[-3:] == ["first: True", "second: True", "changed: True"]


def test_failures_are_collected_skipped_replaced_and_tried_again(run_program: Program) -> None:
    said = run("failures", run_program)
    found = re.match(r"(\d+) of \d+ files are not ASCII", said[2])
    assert found is not None
    assert f"all of them together: {found[1]}" in said
    assert f"skipped: {found[1]}" in said
    assert "mended: True, True" in said
    assert "retried: ['an answer', 'an answer']" in said


def test_callbacks_hear_of_results_and_failures_and_a_timeout_ends_the_call(run_program: Program) -> None:
    said = run("one_at_a_time", run_program)
    assert "sizes: [3, 7, 13] failures: ['seven']" in said
    assert said[-3:] == ["not yet", "awake", "the task ran longer than its timeout of 0.1 s"]


def test_a_task_that_crashes_hangs_or_eats_the_memory_fails_alone(run_program: Program) -> None:
    said = run("crashes", run_program)
    assert said == [
        "done: ['one', 'two', 'three', 'four']",
        "crash: exit code -9",
        "leave: exit code 3",
        "hang: not done after 0.5 s",
        "spin: not done after 0.5 s",
        "eat: MemoryError",
        "in time: 4 too late: [3600]",
        "done after 3 tries",
    ]
    theirs = run("standard_library/crashes", run_program)
    assert theirs[1:] == [line for line in said if not line.startswith("in time")]


@pytest.mark.skipif(sys.platform != "linux", reason="where a worker is, is known on Linux")
def test_a_timeout_says_where_the_task_was(run_program: Program) -> None:
    for name, function in (("crashes", "task"), ("debugging", "collatz|stuck")):
        assert re.search(
            rf'^measured: File ".*", line \d+ in ({function})$', printed(name, run_program), re.MULTILINE
        )


def test_debugging_shows_the_item_and_the_variables(run_program: Program) -> None:
    said = run("debugging", run_program)
    assert "manyhands: item 2: ratio((1, 0))" in said
    assert "in ratio {'pair': (1, 0), 'above': 1, 'below': 0}" in said
    assert said[-1] == "ratio: 2 items give the same here and in a worker"
