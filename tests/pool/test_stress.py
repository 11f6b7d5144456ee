"""Random deaths under load, for a while: nothing is lost, nothing runs twice, the answers are right, and nobody stays behind.

Then rounds of every fault in the catalogue. Deselected by default; ``-m stress`` runs them. ``MANYHANDS_STRESS`` is the
number of seconds that the random deaths may take together, ``MANYHANDS_STRESS_SEED`` repeats what a failure has reported as its
seed, ``MANYHANDS_ROUNDS`` is the number of rounds, each with the next start method.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manyhands import ProcessPool, WorkerCrashedError, parallel_map
from tests.conftest import PROC, Program, descendants
from tests.pool import tasks
from tests.pool.catalogue import ROWS
from tests.pool.conftest import METHODS, PATIENCE

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
    pytest.mark.skipif(not PROC, reason="looks for processes in /proc"),
]

SECONDS = float(os.environ.get("MANYHANDS_STRESS", "120"))
#: There are so many tests here, each with every start method.
SHARE = SECONDS / 3 / len(METHODS)
SEED = int(os.environ.get("MANYHANDS_STRESS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)


@contextmanager
def kills(chance: random.Random, method: str, *, templates: bool) -> Iterator[list[int]]:
    """Meanwhile, kill a process of this one at random moments; yields the list of those that were killed.

    Args:
        chance: what decides.
        method: the start method; with "fork" the children of this process are workers, else templates.
        templates: whether templates are killed as well, now and then.
    """
    over = threading.Event()
    killed: list[int] = []

    def work() -> None:
        while not over.wait(0.05 + chance.expovariate(10)):  # the load goes on, whenever this is
            children = method == "fork" or (templates and chance.random() < 0.05)
            found = [
                each
                for each in descendants(os.getpid())
                if each.state != "Z" and (children or each.parent != os.getpid())
            ]
            if found:
                victim = chance.choice(found).pid
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(victim)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def check_runs(path: Path, numbers: range, answered: set[int]) -> None:
    """No task ran twice, and what has an answer ran."""
    runs = Counter(int(line) for line in path.read_text().split()) if path.exists() else Counter[int]()
    path.unlink(missing_ok=True)
    assert set(runs.values()) <= {1}, [number for number, count in runs.items() if count > 1]
    assert answered <= set(runs) <= set(numbers)


@pytest.mark.parametrize("method", METHODS)
def test_under_random_kills_each_future_has_its_own_outcome(method: str, tmp_path: Path) -> None:
    """The result, or that its worker died; a task whose worker died may have run, once."""
    chance, path = random.Random(SEED), tmp_path / "runs"
    end, rounds = time.monotonic() + SHARE, 0
    numbers = range(2000)
    with ProcessPool(4, start_method=method) as pool, kills(chance, method, templates=True) as killed:
        while time.monotonic() < end or not killed:
            rounds += 1
            futures = [pool.submit(tasks.noted_double, number, str(path)) for number in numbers]
            answered = set()
            for number, future in enumerate(futures):
                error = future.exception(PATIENCE)
                if error is None:
                    assert future.result() == 2 * number, f"seed {SEED}"
                    answered.add(number)
                else:
                    assert isinstance(error, WorkerCrashedError), f"seed {SEED}: {error!r}"
            check_runs(path, numbers, answered)
    assert rounds


@pytest.mark.parametrize("method", METHODS)
def test_under_random_kills_a_map_with_retries_is_the_loop(method: str, tmp_path: Path) -> None:
    """And one that collects its failures has a place for each item."""
    chance, path = random.Random(SEED + 1), tmp_path / "runs"
    end = time.monotonic() + SHARE
    numbers = range(3000)
    many = {"max_workers": 4, "start_method": method, "initializer": tasks.nothing}
    retrying = parallel_map(tasks.double, retries=1000, backoff=0.0, retry_on=WorkerCrashedError, **many)
    collecting = parallel_map(tasks.noted_double, on_error="collect", **many)
    with kills(chance, method, templates=False) as killed:
        while time.monotonic() < end or not killed:
            assert retrying.map(numbers) == [2 * number for number in numbers], f"seed {SEED}"
            assert list(retrying.imap(numbers)) == [2 * number for number in numbers], f"seed {SEED}"
            results = collecting.map(numbers, path=str(path))
            failed = {failure.index for failure in results.errors}
            assert all(isinstance(failure.exception, WorkerCrashedError) for failure in results.errors)
            assert [each for place, each in enumerate(results) if place not in failed] == [
                2 * number for number in numbers if number not in failed
            ], f"seed {SEED}"
            check_runs(path, numbers, set(numbers) - failed)


MORTAL = """
import os, signal, sys, threading, time
from manyhands import ProcessPool, parallel_map

def die():
    time.sleep({delay})
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die, daemon=True).start()
function = parallel_map(str, max_workers=2, start_method={method!r}, initializer=int)
while True:
    with ProcessPool(2, start_method={method!r}) as pool:
        for _ in range(3):
            list(pool.map(abs, range(100)))
            function.map(range(1000))
            [pool.submit(bytes, 100_000) for _ in range(10)]
"""


@pytest.mark.parametrize("method", METHODS)
def test_whenever_the_program_is_killed_no_process_of_it_stays(run_program: Program, method: str) -> None:
    """``run_program`` sees to it."""
    chance, end = random.Random(SEED + 2), time.monotonic() + SHARE
    while time.monotonic() < end:
        delay = chance.choice([chance.uniform(0, 0.1), chance.uniform(0, 1.0)])
        ran = run_program(MORTAL.replace("{method!r}", repr(method)).replace("{delay}", repr(delay)))
        assert (ran.code, ran.err) == (-signal.SIGKILL, ""), f"seed {SEED}, delay {delay}"


@pytest.mark.parametrize("round_", range(int(os.environ.get("MANYHANDS_ROUNDS", "3"))))
def test_a_round_of_every_fault(round_: int, tmp_path: Path) -> None:
    """Each test that holds a row of the catalogue, in a random order."""
    tests = sorted({f"tests/pool/{test}" for test in ROWS.values()})
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not stress", f"--basetemp={tmp_path / 't'}", *tests],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MANYHANDS_METHODS": METHODS[round_ % len(METHODS)]},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
