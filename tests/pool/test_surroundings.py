"""It works wherever a program is run from, and whatever the program has done to its process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manyhands import ProcessPool, cpu_count, parallel_map
from manyhands.engine import cores
from tests.conftest import PROC, Program, descendants
from tests.pool import tasks
from tests.pool.conftest import METHODS, PATIENCE

posix = pytest.mark.skipif(sys.platform == "win32", reason="uses what POSIX has")

#: What lives in __main__, in the ways people write it; every line of the output says that one of them has worked.
MAIN = """
import collections, dataclasses, enum, os, sys
from manyhands import ProcessPool, parallel_map

LIMIT = 10
Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Row:
    name: str
    colour: Colour = Colour.RED

    @parallel_map(max_workers=2, initializer=int)
    def shout(self, mark):
        return self.name.upper() + mark


def helper(x):
    return min(x, LIMIT)


@parallel_map(max_workers=2, start_method={method!r}, initializer=int)
def work(x, *, plus=0):
    return helper(x) + plus


def factory(k):
    def inner(x):
        return x * k
    return inner


def process(_):
    return os.getpid()


many = dict(max_workers=2, start_method={method!r}, initializer=int)
assert work(3) == 3
print("decorated", work.map([5, 50], plus=1))
print("plain", parallel_map(helper, **many).map([5, 50]))
print("lambda", parallel_map(lambda x: x + LIMIT, **many).map([1, 2]))
print("closure", parallel_map(factory(3), **many).map([1, 2]))
print("namedtuple", parallel_map(lambda x: Point(x, x), **many).map([1]) == [Point(1, 1)])
print("dataclass", parallel_map(lambda x: Row(x), **many).map(["a"]) == [Row("a")])
print("enum", parallel_map(lambda x: x.colour, **many).map([Row("a")])[0] is Colour.RED)
print("method", Row("a").shout.map(["!", "?"]))
print("submit", work.submit(7).result())
print("elsewhere", os.getpid() not in parallel_map(process, **many).map(range(4)))
with ProcessPool(2, start_method={method!r}) as pool:
    print("pool", list(pool.map(helper, [5, 50])), pool.submit(factory(2), 4).result())
LIMIT = 3
print("changed", work.map([5, 50]))
print("name", __name__)
"""

OUTPUT = """\
decorated [6, 11]
plain [5, 10]
lambda [11, 12]
closure [3, 6]
namedtuple True
dataclass True
enum True
method ['A!', 'A?']
submit 7
elsewhere True
pool [5, 10] 8
changed [3, 3]
name __main__
"""


@posix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["file", "-c", "stdin", "module"])
def test_a_program_without_a_main_guard_works(run_program: Program, how: str, method: str) -> None:
    """What lives in __main__ travels, and nothing of the program runs twice."""
    ran = run_program(MAIN.replace("{method!r}", repr(method)), how=how)
    assert (ran.out, ran.err, ran.code) == (OUTPUT, "", 0)


@posix
@pytest.mark.parametrize("method", METHODS)
def test_tasks_of_a_program_see_what_its_initializer_has_set(run_program: Program, method: str) -> None:
    """The pattern of every program with a connection for each worker."""
    ran = run_program(
        f"""
from manyhands import ProcessPool, parallel_map

connection = None

def connect(name):
    global connection
    connection = "connected to " + name

def query(x):
    return (connection, x)

with ProcessPool(2, initializer=connect, initargs=("there",), start_method={method!r}) as pool:
    print(list(pool.map(query, [1, 2])))
print(parallel_map(query, max_workers=2, initializer=connect, initargs=("here",), start_method={method!r}).map([3]))
print(connection)
"""
    )
    expected = "[('connected to there', 1), ('connected to there', 2)]\n[('connected to here', 3)]\nNone\n"
    assert (ran.out, ran.err, ran.code) == (expected, "", 0)


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_module_may_map_while_it_is_imported(run_program: Program, method: str) -> None:
    """The workers import it again, and come to the same call, which they run themselves."""
    ran = run_program(
        "import loading\nprint(loading.squares)\n",
        files={
            "loading.py": f"""
            from manyhands import parallel_map

            def square(x):
                return x * x

            squares = parallel_map(square, max_workers=2, start_method={method!r}, initializer=int).map(range(4))
            """
        },
    )
    assert (ran.out, ran.err, ran.code) == ("[0, 1, 4, 9]\n", "", 0)


STREAMS = {
    "all closed": "for descriptor in (0, 1, 2):\n    os.close(descriptor)\n",
    "no objects": "sys.stdin = sys.stdout = sys.stderr = None\n",
    "odd objects": "sys.stdout = sys.stderr = type('Odd', (), {})()\n",
    "closed objects": "sys.stdout.close()\n",
    "detached": "sys.stdout.detach()\n",
}


@posix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", STREAMS)
def test_a_program_with_odd_standard_streams_works(run_program: Program, how: str, method: str) -> None:
    ran = run_program(
        f"""
import os, sys
from manyhands import ProcessPool, parallel_map

{STREAMS[how]}

def loud(number):
    for write in (lambda: print("from a task", number), lambda: os.write(1, b"junk"), lambda: os.write(2, b"junk")):
        try:
            write()
        except (OSError, AttributeError, ValueError):
            pass
    return 2 * number

with ProcessPool(2, start_method={method!r}) as pool:
    first = list(pool.map(loud, range(20)))
second = parallel_map(loud, max_workers=2, start_method={method!r}, initializer=int).map(range(20))
with open("results", "w") as file:
    file.write(repr((first, second)))
"""
    )
    doubles = [2 * number for number in range(20)]
    assert (ran.folder / "results").read_text() == repr((doubles, doubles)), ran
    assert "Traceback" not in ran.err


@posix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("closed", [(0, 1, 2), (0,), (1,), (2,), (0, 2)])
def test_a_program_started_without_standard_streams_works(
    run_program: Program, closed: tuple[int, ...], method: str
) -> None:
    """The next descriptors it opens are 0, 1 and 2: what a task prints must not end up in a channel."""
    ran = run_program(
        f"""
import os
from manyhands import ProcessPool, parallel_map

def loud(number):
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"junk" * 10)
        except OSError:
            pass
    print("from a task")
    return 2 * number

with ProcessPool(2, start_method={method!r}) as pool:
    first = []
    for result in pool.map(loud, range(20)):
        loud(0)  # here, too
        first.append(result)
with open("results", "w") as file:
    file.write(repr(first))
""",
        start=lambda: [os.close(descriptor) for descriptor in closed],
    )
    assert (ran.folder / "results").read_text() == repr([2 * number for number in range(20)]), ran
    assert ran.code == 0


@posix
@pytest.mark.parametrize("method", METHODS)
def test_what_a_task_prints_appears_once(run_program: Program, method: str) -> None:
    """Also what the program has in its buffer when the workers start, and what tasks of one chunk print."""
    ran = run_program(
        f"""
import os, sys
from manyhands import ProcessPool, parallel_map

sys.stdout.write("before ")

def say(number):
    sys.stdout.write(f"[{{number}}]")
    sys.stderr.write(f"<{{number}}>")
    return bytes(3 << 20) if number == 9 else None

with ProcessPool(2, start_method={method!r}) as pool:
    list(pool.map(say, range(10)))
    pool.submit(say, 10).result()
parallel_map(say, max_workers=2, start_method={method!r}, chunksize=4, initializer=int).map(range(11, 30))
sys.stdout.write(" after")
"""
    )
    assert ran.out.startswith("before ") or ran.out.endswith("before  after")
    assert (ran.out.count("before"), ran.out.count("after")) == (1, 1)
    for number in range(30):
        assert ran.out.count(f"[{number}]") == 1
        assert ran.err.count(f"<{number}>") == 1


@posix
def test_eight_megabytes_printed_to_a_slow_reader_all_arrive(run_program: Program) -> None:
    ran = run_program(
        """
from manyhands import ProcessPool

def flood(number):
    for line in range(1000):
        print(f"{number:02}{line:04}" + "x" * 993)
    return number

with ProcessPool(2) as pool:
    assert sorted(pool.map(flood, range(8))) == list(range(8))
"""
    )
    assert ran.code == 0, ran.err
    lines = [line for line in ran.out.split("\n") if line]
    assert len(ran.out) == 8 * 1000 * 1000
    assert sum(line.count("x") for line in lines) == 8 * 1000 * 993


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_module_of_a_relative_path_entry_is_found_after_chdir(run_program: Program, method: str) -> None:
    ran = run_program(
        f"""
import os, sys
os.mkdir("library")
with open("library/relative.py", "w") as file:
    file.write("def square(x):\\n    return x * x\\n")
os.mkdir("elsewhere")
sys.path.insert(0, "library")
import relative
from manyhands import ProcessPool
os.chdir("elsewhere")
with ProcessPool(2, start_method={method!r}) as pool:
    print(list(pool.map(relative.square, range(4))))
"""
    )
    assert (ran.out, ran.err) == ("[0, 1, 4, 9]\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_path_entry_that_is_added_after_the_start_is_known_to_the_workers(
    run_program: Program, method: str
) -> None:
    ran = run_program(
        f"""
import os, sys
from manyhands import ProcessPool
with ProcessPool(2, start_method={method!r}) as pool:
    print(list(pool.map(abs, range(4))))
    os.mkdir("library")
    with open("library/late.py", "w") as file:
        file.write("def square(x):\\n    return x * x\\n")
    sys.path.append(os.path.abspath("library"))
    import late
    print(list(pool.map(late.square, range(4))))
"""
    )
    assert (ran.out, ran.err) == ("[0, 1, 2, 3]\n[0, 1, 4, 9]\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["before the import", "before the start", "after the start"])
def test_the_current_folder_may_be_deleted(run_program: Program, method: str, when: str) -> None:
    delete = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n"
    steps = [
        "from manyhands import ProcessPool, parallel_map\n",
        f"pool = ProcessPool(2, start_method={method!r})\nprint(pool.submit(abs, -1).result())\n",
        "print(list(pool.map(abs, range(4))), parallel_map(abs, max_workers=2, initializer=int).map(range(3)))\n",
    ]
    steps.insert(["before the import", "before the start", "after the start"].index(when), delete)
    ran = run_program("".join(steps))
    assert (ran.out, ran.err, ran.code) == ("1\n[0, 1, 2, 3] [0, 1, 2]\n", "", 0)


@posix
def test_tasks_run_in_the_folder_in_which_the_pool_was_started(run_program: Program) -> None:
    ran = run_program(
        """
import os
from manyhands import ProcessPool
os.mkdir("work")
os.chdir("work")
with ProcessPool(1) as pool:
    print(os.path.basename(pool.submit(os.getcwd).result()))
"""
    )
    assert (ran.out, ran.err) == ("work\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_task_that_reads_standard_input_gets_its_end(run_program: Program, method: str) -> None:
    """It neither waits for ever nor takes what is meant for the program."""
    reading, writing = os.pipe()
    os.write(writing, b"for the program\n")
    try:
        ran = run_program(
            f"""
import os, sys
from manyhands import ProcessPool

def read():
    try:
        text = input()
    except EOFError:
        text = "EOFError"
    return text, sys.stdin.read(), os.read(0, 10)

with ProcessPool(1, start_method={method!r}) as pool:
    print(pool.submit(read).result())
print(input())
""",
            stdin=reading,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (ran.out, ran.err) == ("('EOFError', '', b'')\nfor the program\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
def test_a_long_folder_for_temporary_files_is_no_obstacle(
    run_program: Program, method: str, tmp_path: Path
) -> None:
    """A socket with a name would fail at 108 characters."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    ran = run_program(
        f"""
from manyhands import ProcessPool
with ProcessPool(2, start_method={method!r}) as pool:
    print(list(pool.map(abs, range(4))))
""",
        environment={"TMPDIR": str(folder)},
    )
    assert (ran.out, ran.err) == ("[0, 1, 2, 3]\n", "")
    assert list(folder.iterdir()) == []


@posix
def test_a_folder_for_temporary_files_that_is_not_there_is_no_obstacle(run_program: Program) -> None:
    ran = run_program(
        "from manyhands import ProcessPool\nwith ProcessPool(2) as pool:\n    print(list(pool.map(abs, range(4))))\n",
        environment={"TMPDIR": "/nowhere/at/all"},
    )
    assert (ran.out, ran.err) == ("[0, 1, 2, 3]\n", "")


@posix
@pytest.mark.parametrize("method", METHODS)
def test_workers_are_interpreters_like_the_programs(run_program: Program, method: str) -> None:
    """Flags, -W and -X options, arguments."""
    ran = run_program(
        f"""
import sys
from manyhands import ProcessPool

def look():
    return (sys.flags.optimize, sys.flags.utf8_mode, sys.flags.dont_write_bytecode, sys.warnoptions, sys.argv)

with ProcessPool(1, start_method={method!r}) as pool:
    print(pool.submit(look).result() == look(), look())
""",
        options=("-O", "-B", "-X", "utf8", "-W", "error::UserWarning"),
        args=("one", "two"),
    )
    assert (ran.out, ran.err) == (
        "True (1, 1, 1, ['error::UserWarning'], ['program.py', 'one', 'two'])\n",
        "",
    )


@posix
def test_the_environment_of_the_program_is_the_workers(run_program: Program) -> None:
    ran = run_program(
        """
import os
from manyhands import ProcessPool
os.environ["SET_BEFORE"] = "yes"
with ProcessPool(1) as pool:
    print(pool.submit(os.environ.get, "SET_BEFORE").result())
"""
    )
    assert (ran.out, ran.err) == ("yes\n", "")


@posix
def test_a_task_that_closes_its_standard_streams_disturbs_nobody(any_pool: ProcessPool) -> None:
    def close() -> str:
        sys.stdout.close()
        sys.stderr.close()
        return "closed"

    assert any_pool.submit(close).result(PATIENCE) == "closed"
    assert list(any_pool.map(tasks.double, range(20))) == [2 * number for number in range(20)]


@posix
def test_multiprocessing_works_inside_a_task(any_pool: ProcessPool) -> None:
    """Workers are not daemons in its sense."""
    assert any_pool.submit(tasks.use_multiprocessing).result(PATIENCE) == "from a child"
    assert list(any_pool.map(tasks.double, range(20))) == [2 * number for number in range(20)]


@posix
def test_subprocess_works_inside_a_task(any_pool: ProcessPool) -> None:
    command = [sys.executable, "-c", "print('from a child')"]
    assert any_pool.submit(subprocess.check_output, command).result(PATIENCE) == b"from a child\n"


@posix
def test_what_a_task_starts_gets_the_usual_signals(any_pool: ProcessPool) -> None:
    """Ctrl-C ends it, though the worker does not heed it."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    run = any_pool.submit(subprocess.call, [sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert run.result(PATIENCE) in {-2, 130}


# cores


def test_the_number_of_cores_honours_affinity() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("there is no affinity here")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu_count() == 1
        assert parallel_map(abs).settings.max_workers is None
    finally:
        os.sched_setaffinity(0, allowed)
    assert cpu_count() <= len(allowed)


Files = dict[str, str]

QUOTAS: dict[str, tuple[Files, float | None]] = {
    "no groups": ({}, None),
    "version 2, none": ({"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
    "version 2": ({"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, of a parent": (
        {
            "/proc/self/cgroup": "0::/a/b/c\n",
            "/sys/fs/cgroup/a/b/c/cpu.max": "400000 100000\n",
            "/sys/fs/cgroup/a/cpu.max": "200000 100000\n",
        },
        2.0,
    ),
    "version 2, inside a container": (
        {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "50000 100000\n"},
        0.5,
    ),
    "version 2, out of its namespace": (
        {"/proc/self/cgroup": "0::/../../x\n", "/sys/fs/cgroup/cpu.max": "300000 100000\n"},
        3.0,
    ),
    "version 1": (
        {
            "/proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/a/b\n1:name=systemd:/\n",
            "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n",
            "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "not to be made sense of": (
        {"/proc/self/cgroup": "nonsense\n0::/a\n", "/sys/fs/cgroup/a/cpu.max": "\n"},
        None,
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_number_of_cores_honours_the_quota_of_a_control_group(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, quota = QUOTAS[name]

    def fake_open(path: str, *_: Any, **__: Any) -> io.StringIO:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(cores, "open", fake_open, raising=False)
    monkeypatch.setattr(cores, "_known_quota", None)
    for machine in (1, 2, 64):
        monkeypatch.setattr(os, "process_cpu_count", lambda machine=machine: machine, raising=False)
        expected = machine if quota is None else min(machine, int(-(-quota // 1)))
        assert cpu_count() == expected


# an idle pool


@pytest.mark.skipif(not PROC, reason="looks into /proc")
@pytest.mark.parametrize("method", METHODS)
def test_an_idle_pool_uses_no_cpu_time(method: str) -> None:
    """Neither its processes nor its loop thread run at all: they are not even woken up."""
    with ProcessPool(2, start_method=method) as pool:
        assert list(pool.map(tasks.double, range(100)))
        pool.submit(tasks.double, 1).result(PATIENCE)
        names = [Path(f"/proc/{each.pid}/status") for each in descendants(os.getpid())]
        threads = [thread.native_id for thread in _threads() if thread.name.startswith("manyhands")]
        names += [Path(f"/proc/self/task/{thread}/status") for thread in threads]
        assert len(names) >= 3
        settle(names)
        before = [switches(name) for name in names]
        # The clock of this test is another process that does as much as a busy moment of a machine.
        subprocess.run(
            [sys.executable, "-c", "import multiprocessing, asyncio, time; time.sleep(0.5)"], check=True
        )
        assert [switches(name) for name in names] == before


def _threads() -> list[Any]:
    import threading

    return threading.enumerate()


def switches(status: Path) -> int:
    """How often a process or thread has given up the processor: it has not run if this has not changed."""
    lines = status.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def settle(names: list[Path]) -> None:
    """Wait until what the last task has set off has come to rest."""
    import time

    for _ in range(1000):
        before = [switches(name) for name in names]
        time.sleep(0.05)
        if [switches(name) for name in names] == before:
            return
    pytest.fail("the pool does not come to rest")


@pytest.mark.skipif(not PROC, reason="looks into /proc")
def test_the_pool_listens_on_no_socket_and_leaves_no_name(tmp_path: Path) -> None:
    """Nobody else can connect to it, or open what it shares."""
    with ProcessPool(2) as pool:
        assert list(pool.map(tasks.double, range(10)))
        sockets = {
            os.readlink(f"/proc/{pid}/fd/{entry}")
            for pid in [os.getpid(), *(each.pid for each in descendants(os.getpid()))]
            for entry in os.listdir(f"/proc/{pid}/fd")
            if os.path.islink(f"/proc/{pid}/fd/{entry}")
        }
        unix = Path("/proc/net/unix").read_text().splitlines()[1:]
        for line in unix:
            fields = line.split()
            if f"socket:[{fields[6]}]" in sockets:
                assert int(fields[3], 16) & 0x10000 == 0, "a listening socket"
                assert len(fields) == 7, "a socket with a name"


def test_the_main_thread_stays_the_main_thread(run_program: Program) -> None:
    """Up to 3.12, ``threading`` takes the thread that first imports it for the main thread: not that of a watch."""
    ran = run_program(
        """
        import _thread, sys, time
        from manyhands import parallel_map

        assert "threading" not in sys.modules or sys.version_info >= (3, 13)

        @parallel_map(max_workers=2)
        def slowly(x):
            time.sleep(0.02)
            return x

        slowly.map(range(20))
        import threading
        print(threading.main_thread().ident == _thread.get_ident(), threading.current_thread().name)
        slowly.map(range(20))
        """
    )
    assert (ran.out, ran.err, ran.code) == ("True MainThread\n", "", 0)


def test_a_forked_child_does_not_wait_for_its_parents_futures(run_program: Program) -> None:
    ran = run_program(
        """
        import os, sys, warnings
        from manyhands import ProcessPool

        warnings.simplefilter("ignore")
        read, write = os.pipe()
        pool = ProcessPool(1, start_method="fork")
        future = pool.submit(os.read, read, 1)
        pool.shutdown(wait=False)
        child = os.fork()
        if not child:
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.write(write, b"x")
        print(future.result())
        """
    )
    assert (ran.out, ran.err, ran.code) == ("3\nb'x'\n", "", 0)
