"""However a program ends, it ends at once, says nothing needless, and leaves nothing behind.

Each test runs a real program; ``run_program`` proves that no process of it outlives it and that its folder for temporary
files is empty. Tasks here never end by themselves, so that a program that waited for them would not end either.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.conftest import PROC, Program
from tests.pool.conftest import METHODS

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="uses signals and process groups"),
    pytest.mark.skipif(not PROC, reason="processes that are left are looked for in /proc"),
]

#: Tells when both workers are busy, so that a signal meets them in a task.
PRELUDE = """
import os, signal, sys, threading, time
import manyhands
from manyhands import ProcessPool, parallel_map

reading, writing = os.pipe()
os.set_inheritable(writing, True)
pipe = os.path.abspath("busy")
os.mkfifo(pipe)
descriptor = os.open(pipe, os.O_RDWR)


def busy(number, pipe=pipe):
    with open(pipe, "w") as file:
        file.write(".")
    while True:
        time.sleep(1000)


def spin(number, pipe=pipe):
    with open(pipe, "w") as file:
        file.write(".")
    while True:
        pass


def ready(tasks=2):
    while tasks:
        tasks -= len(os.read(descriptor, tasks))
    print("ready", flush=True)


def when_ready():
    threading.Thread(target=ready, daemon=True).start()
"""


#: How a program may be waiting for tasks when Ctrl-C comes. Tasks that the caller's thread runs itself count, too.
WAITING = {
    "map": "f.map(range(100))",
    "imap": "next(f.imap(range(100)))",
    "imap_unordered": "next(f.imap_unordered(range(100)))",
    "submit": "[f.submit(n) for n in range(4)][0].result()",
    "executor": "[pool.submit(busy, n) for n in range(4)][0].result()",
    "executor map": "list(pool.map(busy, range(4)))",
    "with": """
with ProcessPool(2, start_method=method) as inner:
    [inner.submit(busy, n) for n in range(4)][0].result()
""",
    "amap": """
import asyncio
asyncio.run(f.amap(range(100)))
""",
}


def waiting(how: str, method: str, task: str = "busy") -> str:
    return (
        PRELUDE
        + f"method = {method!r}\n"
        + f"f = parallel_map({task}, max_workers=2, start_method=method, chunksize=1)\n"
        + "pool = ProcessPool(2, start_method=method)\n"
        + "when_ready()\n"
        + WAITING[how]
    )


def check_interrupted(code: int, err: str) -> None:
    """The program ended as one ends by Ctrl-C, and the only traceback is its own."""
    assert code in {-signal.SIGINT, 130}
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback (most recent call last)") == 1 + err.count("During handling") + err.count(
        "direct cause"
    )
    assert "engine/worker.py" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", WAITING)
def test_ctrl_c_ends_a_program_that_waits(run_program: Program, how: str, method: str) -> None:
    """The signal goes to the whole group, as from a terminal."""
    ran = run_program(waiting(how, method), send_signal=signal.SIGINT)
    check_interrupted(ran.code, ran.err)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_tasks_that_compute(run_program: Program, method: str) -> None:
    ran = run_program(waiting("executor", method).replace("busy,", "spin,"), send_signal=signal.SIGINT)
    check_interrupted(ran.code, ran.err)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_while_the_workers_are_starting(run_program: Program, method: str) -> None:
    """Workers that are half started say nothing about it."""
    ran = run_program(
        PRELUDE
        + f"pool = ProcessPool(2, start_method={method!r})\n"
        + "futures = [pool.submit(busy, n) for n in range(4)]\n"
        + "print('ready', flush=True)\n"
        + "futures[0].result()\n",
        send_signal=signal.SIGINT,
    )
    check_interrupted(ran.code, ran.err)


@pytest.mark.parametrize("method", METHODS)
def test_after_a_caught_ctrl_c_the_program_goes_on(run_program: Program, method: str) -> None:
    ran = run_program(
        PRELUDE
        + f"f = parallel_map(busy, max_workers=2, start_method={method!r}, chunksize=1)\n"
        + f"g = parallel_map(abs, max_workers=2, start_method={method!r}, chunksize=1)\n"
        + "when_ready()\n"
        + "try:\n    f.map(range(100))\nexcept KeyboardInterrupt:\n    print('caught')\n"
        + "print(g.map(range(-3, 3)))\n",
        send_signal=signal.SIGINT,
    )
    assert ran.out == "ready\ncaught\n[3, 2, 1, 0, 1, 2]\n"
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("policy", ["raise", "collect", "skip"])
@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_brings_the_results_so_far(run_program: Program, method: str, policy: str) -> None:
    ran = run_program(
        PRELUDE
        + f"""
def some(number):
    if number >= 6:
        time.sleep(3600)
    if number == 2 and {policy!r} != "raise":
        raise LookupError
    return -number

seen = []
def see(result):
    seen.append(result)
    if len(seen) == ({policy!r} == "raise") + 5:
        print("ready", flush=True)

f = parallel_map(some, max_workers=2, start_method={method!r}, chunksize=1, on_result=see, on_error={policy!r}, timeout=3600)
try:
    f.map(range(20))
except KeyboardInterrupt as interrupt:
    print({{index: result for index, result in interrupt.partial.items() if index != 2}})
""",
        send_signal=signal.SIGINT,
    )
    assert ran.out == "ready\n{0: 0, 1: -1, 3: -3, 4: -4, 5: -5}\n", ran
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("call", ["parallel_map(busy, max_workers=2, start_method={0!r}, chunksize=1).map(range(100))",
                                  "process_task(busy, start_method={0!r})(1)"])  # fmt: skip
def test_a_program_that_handles_sigterm_leaves_as_it_says(
    run_program: Program, method: str, call: str
) -> None:
    ran = run_program(
        PRELUDE
        + "from manyhands import process_task\n"
        + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        + f"threading.Thread(target=ready, args=({1 if 'process_task' in call else 2},), daemon=True).start()\n"
        + call.format(method)
        + "\n",
        send_signal=signal.SIGTERM,
        to="program",
    )
    assert (ran.code, ran.err) == (5, ""), ran


ENDS = {
    "SIGTERM": (signal.SIGTERM, -signal.SIGTERM),
    "SIGKILL": (signal.SIGKILL, -signal.SIGKILL),
    "SIGHUP": (signal.SIGHUP, -signal.SIGHUP),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("task", ["busy", "spin"])
def test_when_a_signal_ends_the_program_its_busy_workers_end(
    run_program: Program, name: str, method: str, task: str
) -> None:
    number, code = ENDS[name]
    ran = run_program(
        waiting("executor", method).replace("busy,", f"{task},"),
        send_signal=number,
        to="group" if name == "SIGHUP" else "program",
    )
    assert (ran.code, ran.err) == (code, "")


@pytest.mark.parametrize("method", METHODS)
def test_when_a_signal_ends_the_program_its_idle_workers_end(run_program: Program, method: str) -> None:
    ran = run_program(
        PRELUDE
        + f"pool = ProcessPool(2, start_method={method!r})\n"
        + "print(list(pool.map(abs, range(10)))[-1])\n"
        + "print('ready', flush=True)\nsignal.pause()\n",
        send_signal=signal.SIGKILL,
        to="program",
    )
    assert (ran.code, ran.out, ran.err) == (-signal.SIGKILL, "9\nready\n", "")


BY_ITSELF = {
    "os._exit": ("os._exit(7)", 7),
    "segfault": ("faulthandler.disable(); ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("faulthandler.disable(); os.abort()", -signal.SIGABRT),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", BY_ITSELF)
def test_when_the_program_leaves_abruptly_its_busy_workers_end(
    run_program: Program, how: str, method: str
) -> None:
    statement, code = BY_ITSELF[how]
    ran = run_program(
        PRELUDE
        + "import ctypes, faulthandler, resource\n"
        + "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        + f"pool = ProcessPool(2, start_method={method!r})\n"
        + "futures = [pool.submit(busy, n) for n in range(4)]\n"
        + f"ready()\n{statement}\n"
    )
    assert (ran.code, ran.err) == (code, "")


@pytest.mark.parametrize("method", METHODS)
def test_the_workers_end_with_the_program_though_a_child_of_it_lives_on(
    run_program: Program, method: str
) -> None:
    """A forked child has copies of every descriptor; its life is not the program's."""
    ran = run_program(
        PRELUDE
        + "import ctypes\n"
        + f"pool = ProcessPool(2, start_method={method!r})\n"
        + "futures = [pool.submit(busy, n) for n in range(4)]\n"
        + "ready()\n"
        + "workers = [worker.pid for worker in pool._pool._workers.values()]\n"
        + "reading, writing = os.pipe()\n"
        + "import warnings\n"
        + "warnings.simplefilter('ignore', DeprecationWarning)\n"
        + "if not os.fork():\n"
        + "    os.close(writing)\n"
        + "    os.read(reading, 1)  # until the program has ended\n"
        + "    for worker in workers:\n"
        + "        try:\n"
        + "            descriptor = os.pidfd_open(worker)\n"
        + "        except ProcessLookupError:\n"
        + "            continue\n"
        + "        import select\n"
        + "        assert select.select([descriptor], [], [], 30)[0], worker\n"
        + "    os.write(2, b'gone')\n"
        + "    os._exit(0)\n"
        + "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert (ran.code, ran.err) == (-signal.SIGKILL, "gone")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ending", ["", "sys.exit(3)"])
def test_pending_futures_are_done_when_the_program_ends(
    run_program: Program, method: str, ending: str
) -> None:
    """As with the standard library's executors: of a pool of one's own, and of the shared one."""
    ran = run_program(
        f"""
import os, sys, time
from manyhands import ProcessPool, parallel_map

def note(name):
    time.sleep(0.01)
    descriptor = os.open(os.path.join({os.sep!r}, {str(run_program.folder)!r}, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (name + " ").encode())

pool = ProcessPool(2, start_method={method!r})
shared = parallel_map(note, max_workers=2, start_method={method!r})
futures = [each for n in range(10) for each in (pool.submit(note, "own"), shared.submit("shared"))]
{ending}
"""
    )
    assert (ran.code, ran.out, ran.err) == (3 if ending else 0, "", "")
    assert sorted((run_program.folder / "notes").read_text().split()) == ["own"] * 10 + ["shared"] * 10


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_in_a_with_block_ends_the_program_whatever_its_tasks_do(
    run_program: Program, method: str
) -> None:
    ran = run_program(
        PRELUDE
        + f"with ProcessPool(2, start_method={method!r}) as pool:\n"
        + "    futures = [pool.submit(busy, n) for n in range(4)]\n"
        + "    ready()\n"
        + "    raise LookupError('in the block')\n"
    )
    assert ran.code == 1
    assert ran.err.rstrip().endswith("LookupError: in the block")
    assert ran.err.count("Traceback") == 1


@pytest.mark.parametrize("method", METHODS)
def test_an_idle_pool_says_nothing_at_the_end(run_program: Program, method: str) -> None:
    ran = run_program(
        f"""
from manyhands import ProcessPool, parallel_map

pool = ProcessPool(2, start_method={method!r})
f = parallel_map(str, max_workers=2, start_method={method!r}, initializer=int)
print(f.map(range(3)), list(pool.map(abs, range(3))), f.submit(5).result())
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "['0', '1', '2'] [0, 1, 2] 5\n", "")


@pytest.mark.parametrize("options", [("-X", "dev"), ("-W", "error"), ("-I",), ("-O",)])
def test_an_idle_pool_says_nothing_at_the_end_with_the_interpreters_options(
    run_program: Program, options: tuple[str, ...]
) -> None:
    """``-X dev`` shows what is not closed."""
    ran = run_program(
        """
from manyhands import ProcessPool, parallel_map

pool = ProcessPool(2)
f = parallel_map(str, max_workers=2, initializer=int)
print(f.map(range(3)), list(pool.map(abs, range(3))), f.submit(5).result())
""",
        options=options,
    )
    assert (ran.code, ran.out, ran.err) == (0, "['0', '1', '2'] [0, 1, 2] 5\n", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["imap", "imap_unordered"])
@pytest.mark.parametrize("dropped", [True, False])
def test_an_imap_that_is_abandoned_does_not_hold_the_program_up(
    run_program: Program, method: str, what: str, dropped: bool
) -> None:
    """Dropped or still referred to; with tasks running and a source that has no end."""
    ran = run_program(
        PRELUDE
        + "import itertools\n"
        + "def some(number):\n    return busy(number) if number > 0 else number\n"
        + f"f = parallel_map(some, max_workers=2, start_method={method!r}, initializer=int, chunksize=1)\n"
        + f"results = f.{what}(itertools.count())\n"
        + "print(next(results))\n"
        + "ready()\n"
        + ("del results\n" if dropped else "")
    )
    assert (ran.code, ran.out, ran.err) == (0, "0\nready\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_ends_before_its_workers_have_started(run_program: Program, method: str) -> None:
    ran = run_program(
        f"""
from manyhands import ProcessPool
pool = ProcessPool(2, start_method={method!r})
future = pool.submit(abs, -1)
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_daemon_thread_that_maps_does_not_hold_the_program_up(run_program: Program) -> None:
    ran = run_program(
        PRELUDE
        + "f = parallel_map(busy, max_workers=2, chunksize=1)\n"
        + "threading.Thread(target=f.map, args=(range(100),), daemon=True).start()\n"
        + "ready()\n"
    )
    assert ran.code == 0
    assert ran.out == "ready\n"
    assert "Fatal" not in ran.err


def test_an_atexit_hook_that_submits_is_served_or_told(run_program: Program) -> None:
    """Whichever of the hooks runs first: neither a hang nor a loss."""
    ran = run_program(
        """
import atexit

def hook(name):
    try:
        print(name, pool.submit(abs, -1).result())
    except RuntimeError as error:
        print(name, "RuntimeError", "shut down" in str(error) or "shutdown" in str(error))

atexit.register(hook, "before")
from manyhands import ProcessPool
pool = ProcessPool(2)
print(pool.submit(abs, -3).result())
atexit.register(hook, "after")
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "3\nafter 1\nbefore RuntimeError True\n", "")


def test_the_programs_atexit_hooks_are_its_own(run_program: Program) -> None:
    """A worker forked from it does not run them, whether it ends in order or is killed."""
    ran = run_program(
        """
import atexit
atexit.register(print, "goodbye")
from manyhands import ProcessPool

with ProcessPool(2, start_method="fork") as pool:
    print(list(pool.map(abs, range(3))))
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "[0, 1, 2]\ngoodbye\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_what_a_task_has_started_does_not_hold_the_program_up(run_program: Program, method: str) -> None:
    """A thread that never ends, in a worker that is idle again."""
    ran = run_program(
        f"""
import threading
from manyhands import ProcessPool

def leave_thread():
    threading.Thread(target=threading.Event().wait).start()
    return "left"

pool = ProcessPool(1, start_method={method!r})
print(pool.submit(leave_thread).result())
"""
    )
    assert (ran.code, ran.out, ran.err) == (0, "left\n", "")
