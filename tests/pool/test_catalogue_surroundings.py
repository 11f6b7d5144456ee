"""The catalogue of faults: resources that run out, what surrounds the program, and hygiene, with every start method.

Each test holds the row of ``catalogue.ROWS`` that its docstring names; other tests hold the rows that are not here. What
uses up a resource of the machine does so in a program of its own, with limits, or a mount, that end with it.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from manyhands import ProcessPool, parallel_map
from tests.conftest import MARK, PROC, Program, descendants
from tests.pool import rogues, tasks
from tests.pool.conftest import METHODS, PATIENCE

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="uses what POSIX has"),
    pytest.mark.skipif(not PROC, reason="looks into /proc"),
]


#: A /dev/shm that only this program sees, and that is full.
FULL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x00020000):
    print("skip: no mount namespace: " + os.strerror(ctypes.get_errno()))
    sys.exit()
if libc.mount(b"none", b"/", None, 0x44000, None) or libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k"):
    print("skip: no mount: " + os.strerror(ctypes.get_errno()))
    sys.exit()
try:
    with open("/dev/shm/filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_full_dev_shm_is_no_obstacle_or_is_named(run_program: Program, method: str) -> None:
    """row: devshm_full."""
    ran = run_program(
        FULL
        + f"""
from manyhands import ProcessPool, parallel_map

try:
    with ProcessPool(2, start_method={method!r}) as pool:
        large = pool.submit(len, bytes(5_000_000)).result(20), len(pool.submit(bytes, 5_000_000).result(20))
        print(list(pool.map(abs, range(-3, 3))), large)
except OSError as error:
    print("refused", "/dev/shm" in str(error))
""",
    )
    if ran.out.startswith("skip: "):
        pytest.skip(ran.out[6:].strip())
    assert ran.out in {"[3, 2, 1, 0, 1, 2] (5000000, 5000000)\n", "refused True\n"}, ran
    assert (ran.code, ran.err) == (0, "")


#: A user of its own, who may have so many processes and threads (root has no limit), and may still read every file.
LIMITED = """
import ctypes, os, resource, sys
import manyhands, concurrent.futures.process, multiprocessing.connection
from manyhands import ProcessPool
import manyhands.engine.executor, manyhands.engine.pool, manyhands.engine.template, manyhands.engine.forked

limit = {limit}
if os.geteuid() == 0:
    user = 900_000 + os.getpid() % 90_000
    libc = ctypes.CDLL(None)
    try:
        libc.prctl(8, 1, 0, 0, 0)  # keep what root may do ...
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        # ... of it only to read files, and pass that on to other programs
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(6, 6, 6, 0, 0, 0))
        libc.prctl(47, 2, 1, 0, 0)
        libc.prctl(47, 2, 2, 0, 0)
        open(sys.executable, "rb").close()
        open(manyhands.__file__, "rb").close()
    except OSError as error:
        print("skip: cannot become another user who may read the interpreter and the library:", error)
        sys.exit()
else:
    limit += sum(1 for each in os.listdir("/proc") if each.isdigit() and os.stat("/proc/" + each).st_uid == os.getuid())
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
os.chdir("/")
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_at_the_limit_of_processes_there_are_fewer_workers_or_a_clear_error(
    run_program: Program, method: str, limit: int, tmp_path: Path
) -> None:
    """row: pids_limit."""
    ran = run_program(
        LIMITED.replace("{limit}", str(limit))
        + f"""
pool = ProcessPool(2, start_method={method!r})
try:
    print(list(pool.map(abs, range(-3, 3), timeout=20)))
except TimeoutError as error:
    print("hung", error)
except (OSError, RuntimeError) as error:  # a broken pool is a RuntimeError, and so is "can't start new thread"
    print("refused", type(error).__name__, error)
pool.shutdown()
print("shut down")
""",
    )
    if ran.out.startswith("skip: "):
        pytest.skip(ran.out[6:].strip())
    first, *rest = ran.out.splitlines()
    assert first == "[3, 2, 1, 0, 1, 2]" or first.startswith("refused"), ran
    assert rest == ["shut down"], ran
    assert ran.code == 0


@pytest.mark.parametrize("method", METHODS)
def test_eight_megabytes_printed_by_workers_all_arrive(run_program: Program, method: str) -> None:
    """row: print_flood."""
    ran = run_program(
        f"""
from manyhands import ProcessPool

def flood(number):
    for line in range(1000):
        print("x" * 999)
    return number

with ProcessPool(2, start_method={method!r}) as pool:
    assert sorted(pool.map(flood, range(8))) == list(range(8))
"""
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("x") == 8 * 1000 * 999
    assert ran.out.count("\n") == 8 * 1000


def test_a_tasks_folder_is_neither_the_programs_nor_a_new_workers(method: str, tmp_path: Path) -> None:
    """row: chdir_leaks.

    A later task in the same worker does see it, as in every pool that uses workers again.
    """
    here = os.getcwd()
    with ProcessPool(1, start_method=method, max_tasks_per_child=1) as pool:
        assert pool.submit(rogues.change_folder, str(tmp_path)).result(PATIENCE) == str(tmp_path)
        assert pool.submit(rogues.folder).result(PATIENCE) == here
    assert os.getcwd() == here


def test_a_tasks_variable_is_neither_the_programs_nor_a_new_workers(method: str) -> None:
    """row: environ_leaks."""
    with ProcessPool(1, start_method=method, max_tasks_per_child=1) as pool:
        assert pool.submit(rogues.change_variable, "MANYHANDS_LEAK", "yes").result(PATIENCE) == "yes"
        assert pool.submit(rogues.variable, "MANYHANDS_LEAK").result(PATIENCE) is None
    assert "MANYHANDS_LEAK" not in os.environ


def test_a_variable_set_after_the_start_is_not_known_to_the_workers(
    any_pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """row: parent_environ_late."""
    assert any_pool.submit(rogues.variable, MARK).result(PATIENCE) == os.environ[MARK]
    monkeypatch.setenv("MANYHANDS_LATE", "yes")
    assert set(any_pool.map(rogues.variable, ["MANYHANDS_LATE"] * 10)) == {None}


# hygiene


def sockets_of(pids: list[int]) -> set[str]:
    """The inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def test_no_pool_listens_anywhere(any_pool: ProcessPool) -> None:
    """row: listening_sockets."""
    before = sockets_of([os.getpid()])
    assert list(any_pool.map(tasks.double, range(10)))
    held = sockets_of([os.getpid(), *(each.pid for each in descendants(os.getpid()))]) - before
    assert held
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in held:
            assert int(fields[3], 16) & 0x10000 == 0, "a listening socket"
            assert len(fields) == 7, "a socket with a name"
    for name in ("tcp", "tcp6", "udp", "udp6"):
        table = Path(f"/proc/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            assert line.split()[9] not in held, f"a socket of the network: {line}"


def test_no_file_of_a_pool_can_be_opened_by_others(any_pool: ProcessPool, tmp_path: Path) -> None:
    """row: file_modes."""
    folders = [Path("/dev/shm"), Path(os.environ["TMPDIR"])]
    before = {path for folder in folders for path in folder.rglob("*")}
    results = any_pool.map(bytes, [5_000_000] * 4)
    assert len(next(results)) == 5_000_000
    for path in {path for folder in folders for path in folder.rglob("*")} - before:
        if path.parent == folders[0] and "manyhands" not in path.name:
            continue  # somebody else's
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert len(list(results)) == 3


def resident() -> int:
    """The bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_thousand_tasks_leave_no_memory_behind(any_pool: ProcessPool, method: str) -> None:
    """row: memory_growth."""
    function = parallel_map(tasks.double, max_workers=2, start_method=method, initializer=tasks.nothing)

    def work() -> None:
        assert (
            sum(future.result() for future in [any_pool.submit(tasks.double, 1) for _ in range(2000)]) == 4000
        )
        assert sum(function.imap(range(10_000))) == 10_000 * 9_999
        assert sum(any_pool.map(tasks.double, range(8_000), chunksize=100)) == 8_000 * 7_999

    for _ in range(2):
        work()
    before = resident()
    for _ in range(5):
        work()
    assert resident() - before < 10_000_000
