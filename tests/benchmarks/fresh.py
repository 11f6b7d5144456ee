"""Runs the jobs: each in a fresh process, competitors interleaved, on as many cores as there are workers.

Within a round every row is run for each competitor in turn, and the turn begins one competitor further with
each row and round, so that whatever disturbs the machine for a while falls on all of them and nobody always
follows the same neighbour.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from probes import PROBES
from rows import ROWS

if TYPE_CHECKING:
    from measure import Result

MEASURE = Path(__file__).with_name("measure.py")
TIME_LIMIT = 120.0
"""Seconds after which a fresh process is stopped and its competitor reported as without an answer."""

Results: TypeAlias = "dict[str, dict[str, list[Result]]]"
"""By row or probe, then by competitor: one result per round."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        rows, probes: Keys of `rows.ROWS` and `probes.PROBES`.
        competitors: Names in `adapters.ADAPTERS`.
        rounds: How often each is run.
        workers: How many workers each pool gets.
        rate: The iterations of `work.spin` per second.
        quick: Take the fewest runs within a process that give a figure.
        say: Is told what is running.
    """

    rows: Sequence[str]
    probes: Sequence[str]
    competitors: Sequence[str]
    rounds: int
    workers: int
    rate: float
    quick: bool
    say: Callable[[str], None]

    def run(self) -> tuple[Results, Results]:
        """Run all rounds of the rows, then of the probes; return both."""
        settings = [str(self.workers), repr(self.rate), "quick" if self.quick else "full"]
        rows: Results = defaultdict(lambda: defaultdict(list))
        probes: Results = defaultdict(lambda: defaultdict(list))
        for number in range(self.rounds):
            for place, key in enumerate(self.rows):
                row = ROWS[key]
                details = [str(row.one_by_one or 0), "overhead" if row.overhead else "speed"]
                for competitor in rotated(self.competitors, number + place):
                    self.say(f"round {number + 1}/{self.rounds} · {key} · {competitor}")
                    rows[key][competitor].append(run_fresh(["row", key, competitor, *settings, *details]))
        for number in range(self.rounds):
            for place, key in enumerate(self.probes):
                chosen = [
                    name for name in PROBES[key].competitors if PROBES[key].concerns(name, self.competitors)
                ]
                for competitor in rotated(chosen, number + place):
                    self.say(f"round {number + 1}/{self.rounds} · {key} · {competitor}")
                    probes[key][competitor].append(run_fresh(["probe", key, competitor, *settings]))
        return rows, probes


def rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """Yield all names, beginning `by` places further, around the end."""
    for place in range(len(names)):
        yield names[(place + by) % len(names)]


def run_fresh(job: Sequence[str], script: Path = MEASURE, time_limit: float = TIME_LIMIT) -> Result:
    """Run one job in a process, and a session, of its own; end whatever it leaves behind.

    Args:
        job: the words of the command line after the script.
        script: prints a `Result` as its last line.
        time_limit: seconds after which it is stopped.
    """
    # Files, not pipes: a worker left behind would hold a pipe open and keep us waiting for its end.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script), *job], stdout=output, stderr=errors, start_new_session=True
        )
        try:
            process.wait(time_limit)
        except subprocess.TimeoutExpired:
            return {"status": "no answer", "detail": f"no answer within {time_limit:g} s"}
        finally:
            end_session(process)
        for line in reversed(read(output)):
            with suppress(ValueError):
                result: Result = json.loads(line)
                return result
        last_words = read(errors)[-1:] or [f"exit code {process.returncode}"]
        return {"status": "failed", "detail": last_words[0]}


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and everything that it started and that stayed in its process group."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(file: Any) -> list[str]:
    """Return the lines of a file that another process has written, without empty ones."""
    file.seek(0)
    return [line for line in file.read().splitlines() if line.strip()]


def use_cores(count: int) -> list[int]:
    """Keep this process and those it starts to `count` cores, so that larger machines give like figures.

    Returns:
        The cores: such as share no arithmetic units, if there are enough. Empty where that can't be done.
    """
    if sys.platform != "linux":
        return []
    allowed = sorted(os.sched_getaffinity(0))
    siblings = {cpu: _siblings(cpu) for cpu in allowed}
    first_of_core = [
        cpu for cpu in allowed if not any(other in siblings[cpu] for other in allowed if other < cpu)
    ]
    chosen = sorted((first_of_core + [cpu for cpu in allowed if cpu not in first_of_core])[:count])
    os.sched_setaffinity(0, chosen)
    return chosen


def _siblings(cpu: int) -> set[int]:
    """Return the logical processors that share a core with this one, itself included."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    found: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found
