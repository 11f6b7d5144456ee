"""What every test may use: a check that nothing is left behind, and a way to run real programs.

Tests of the pool, of the contract and of the properties are each followed by ``nothing_left``: the shared pools are shut down,
and then no process, thread, descriptor, mapping, shared-memory segment or temporary file may be there that was not
there before the test. Processes are found in two ways, as descendants (zombies included) and by a mark in their
environment, which those keep that have lost their parent. Where there is no ``/proc`` the check sees threads and files only.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

#: Tests in these folders use processes; nothing may be left after any of them.
CHECKED = ("pool", "contract", "properties", "stdlib")
#: What is on its way out gets so many seconds; waiting ends as soon as it is gone.
GRACE = 15.0
#: A variable in the environment of every process that a test or a program starts.
MARK = "MANYHANDS_TEST"

PROC = Path("/proc/self/stat").exists()


class Process(NamedTuple):
    """A process as ``/proc`` shows it."""

    pid: int
    parent: int
    state: str

    def __str__(self) -> str:
        try:
            command = (
                Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            command = ""
        return f"process {self.pid} (state {self.state}, child of {self.parent}): {command[:200]}"


def look_at(pid: int) -> Process | None:
    """Return a process; None: it has ended this moment."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except OSError:
        return None
    return Process(pid, int(parent), state.decode())


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def all_processes() -> dict[int, Process]:
    return {process.pid: process for process in map(look_at, all_pids()) if process is not None}


def has_children() -> bool:
    """Whether this process has any, zombies included; asked of the kernel, which takes a thousandth of looking."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants(root: int) -> list[Process]:
    """Return the children of a process, their children and so on, zombies included."""
    processes = all_processes()
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, todo = [], [root]
    while todo:
        for pid in children.get(todo.pop(), []):
            found.append(processes[pid])
            todo.append(pid)
    return found


def marked(mark: str) -> list[Process]:
    """Return the processes that have the mark in their environment, wherever they hang in the tree."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for pid in all_pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                has_it = wanted in file.read()
        except OSError:
            continue
        if has_it:
            found.append(look_at(pid))
    return [process for process in found if process is not None]


def wait_for_end(pids: list[int], seconds: float) -> None:
    """Return when these processes have ended (a zombie has), or after so many seconds."""
    deadline = time.monotonic() + seconds
    if not hasattr(os, "pidfd_open"):
        return
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # it has ended
            continue
        try:
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Belongings:
    """What this process holds at a moment, each thing with a name.

    Args:
        mark: the mark of the processes of this test; None: nobody has been given it yet.
        folder: where its temporary files go.
    """

    def __init__(self, mark: str | None, folder: Path) -> None:
        self.threads = {thread.native_id: f"thread {thread.name}" for thread in threading.enumerate()}
        self.files = {str(path): f"temporary file {path}" for path in folder.rglob("*")}
        self.processes: dict[int, str] = {}
        self.descriptors: dict[tuple[str, str], str] = {}
        self.mappings = 0
        if not PROC:
            return
        found = [*(descendants(os.getpid()) if has_children() else []), *(marked(mark) if mark else [])]
        self.processes = {each.pid: str(each) for each in found}
        for entry in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{entry}")
            except OSError:  # the one that listed the folder
                continue
            self.descriptors[entry, target] = f"descriptor {entry} -> {target}"
        for entry in os.listdir("/proc/self/task"):  # those that `threading` does not know, too
            self.threads.setdefault(int(entry), f"thread {entry}")
        for entry in os.listdir("/dev/shm"):
            if "manyhands" in entry:  # other programs use the folder as well
                self.files[f"/dev/shm/{entry}"] = f"shared-memory segment {entry}"
        self.mappings = Path("/proc/self/maps").read_text().count("memfd:manyhands")

    def beyond(self, before: Belongings) -> list[str]:
        """Name what is here and was not there before."""
        found = [
            *(text for key, text in self.processes.items() if key not in before.processes),
            *(text for key, text in self.threads.items() if key not in before.threads),
            *(text for key, text in self.descriptors.items() if key not in before.descriptors),
            *(text for key, text in self.files.items() if key not in before.files),
        ]
        if self.mappings > before.mappings:
            found.append(f"{self.mappings - before.mappings} mapped journals")
        return found


def shut_down_shared_pools() -> None:
    if "manyhands.backends.processes" in sys.modules:
        import manyhands

        manyhands.shutdown()
    threads = sys.modules.get("manyhands.backends.threads")
    if threads is not None:
        threads.shutdown()


def left_behind(before: Belongings, mark: str, folder: Path) -> list[str]:
    """Name what is left, after giving what is ending its time."""
    deadline, looked = time.monotonic() + GRACE, False
    while True:
        now = Belongings(mark, folder)
        left = now.beyond(before)
        if not left or time.monotonic() > deadline:
            return left
        if looked:  # mostly something is only just ending, and collecting takes ten times as long as the look
            gc.collect()  # a traceback may hold a frame that holds a pool
        looked = True
        for thread in threading.enumerate():
            if thread.native_id not in before.threads and thread is not threading.current_thread():
                thread.join(0.1)
        wait_for_end([pid for pid in now.processes if pid not in before.processes], 0.1)
        time.sleep(0.002)  # between two looks; the end of the loop is that nothing is left


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After a test of the folders ``CHECKED`` nothing is there that was not there before it."""
    folders = Path(str(request.node.path)).relative_to(request.config.rootpath).parts
    if not any(folder in CHECKED for folder in folders):
        yield
        return
    import tempfile

    mark = uuid.uuid4().hex
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("left")
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # asks for TMPDIR again
    shut_down_shared_pools()
    before = Belongings(None, folder)
    yield
    shut_down_shared_pools()
    left = left_behind(before, mark, folder)
    if left:
        kill([pid for pid in Belongings(mark, folder).processes if pid not in before.processes])
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


# real programs


class Ran(NamedTuple):
    """A program that has run: its exit code (negative: a signal), what it wrote, and the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path


def plain_environment() -> dict[str, str]:
    """The environment without what would make an interpreter behave unlike a user's (unbuffered output, for one)."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") or name in {"PYTHONPATH", "PYTHON_GIL"}
    }


class Program:
    """Runs programs, each in an interpreter, a process group and a folder of its own.

    Args:
        folder: the folder.
        common: one that all processes have which run these tests.
    """

    def __init__(self, folder: Path, common: Path) -> None:
        self.folder = folder
        self.common = common
        self.runs = 0

    def __call__(
        self,
        source: str,
        *,
        how: str = "file",
        args: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        timeout: float = 30.0,
        send_signal: int | None = None,
        to: str = "group",
        after: str = "ready",
        environment: dict[str, str] | None = None,
        start: Callable[[], object] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        files: dict[str, str] | None = None,
    ) -> Ran:
        """Run a program to its end, and prove that nothing of it is left.

        Args:
            source: the program's text.
            how: "file" (``python program.py``), "-c", "stdin" (``python -``) or "module" (``python -m package.module``).
            args: the program's arguments.
            options: the interpreter's options.
            timeout: seconds after which the program is asked for its stack and killed; the test fails.
            send_signal: sent when the program has written the line ``after`` to standard output.
            to: who gets the signal, the "group" (as with Ctrl-C) or the program alone ("program").
            after: the line to wait for.
            environment: variables over those of this process.
            start: called in the new process just before the interpreter starts.
            stdin: what the program's standard input is.
            files: texts of further files beside the program.

        Returns:
            Exit code and output.
        """
        self.runs += 1
        folder = self.folder / f"run{self.runs}"
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        source = textwrap.dedent(source)
        for name, content in (files or {}).items():
            (folder / name).write_text(textwrap.dedent(content))
        mark = uuid.uuid4().hex
        command = [sys.executable, "-X", "faulthandler", *options]
        text: bytes | None = None
        if how == "file":
            (folder / "program.py").write_text(source)
            command.append("program.py")
        elif how == "-c":
            command += ["-c", source]
        elif how == "stdin":
            command.append("-")
            text, stdin = source.encode(), subprocess.PIPE
        else:
            (folder / "package").mkdir()
            (folder / "package" / "module.py").write_text(source)
            command += ["-m", "package.module"]
        with open(folder / "stderr", "w+b") as errors:
            process = subprocess.Popen(
                [*command, *args],
                cwd=folder,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**plain_environment(), MARK: mark, "TMPDIR": str(temporary), **(environment or {})},
                start_new_session=True,
                preexec_fn=start,  # noqa: PLW1509 - it closes descriptors, no more
            )
            assert process.stdout is not None
            if text is not None and process.stdin is not None:
                process.stdin.write(text)
                process.stdin.close()
            out, in_time = self._follow(process, timeout, send_signal, to, after)
            left = [] if in_time else [f"the program, which had not ended after {timeout:g} seconds"]
            if not in_time:
                process.send_signal(signal.SIGABRT)  # has faulthandler show the stacks
                wait_for_end([process.pid], 5.0)
            if PROC:
                ending = time.monotonic() + (GRACE if in_time else 0.0)
                while (
                    living := marked(mark)
                ) and time.monotonic() < ending:  # one may just be starting another
                    wait_for_end([each.pid for each in living], ending - time.monotonic())
                left += [str(each) for each in living]
                kill([each.pid for each in marked(mark)])
            process.kill()
            process.wait()
            out += process.stdout.read()
            process.stdout.close()
            errors.seek(0)
            ran = Ran(process.returncode, out.decode(), errors.read().decode(), folder)
        left += [f"temporary file {path}" for path in temporary.rglob("*")]
        if left:
            pytest.fail(
                "left behind:\n  " + "\n  ".join([*left, "stdout:", ran.out, "stderr:", ran.err]),
                pytrace=False,
            )
        return ran

    @staticmethod
    def _follow(process: Any, timeout: float, number: int | None, to: str, after: str) -> tuple[bytes, bool]:
        """Read what the program writes until it ends; tell whether it did in time."""
        deadline = time.monotonic() + timeout
        out, sent = b"", number is None
        stream = process.stdout.fileno()
        end = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
        watched = [descriptor for descriptor in (stream, end) if descriptor >= 0]
        try:
            while watched and (patience := deadline - time.monotonic()) > 0:
                ready = select.select(watched, [], [], patience)[0]
                if stream in ready:
                    piece = os.read(stream, 1 << 16)
                    out += piece
                    if not piece:
                        watched.remove(stream)
                    if not sent and f"{after}\n".encode() in out:
                        sent = True
                        (os.killpg if to == "group" else os.kill)(process.pid, number)
                elif end in ready:
                    break
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return out, False
        finally:
            if end >= 0:
                os.close(end)
        return out, True


@pytest.fixture
def run_program(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return what runs programs; see ``Program.__call__``."""
    if sys.platform == "win32":
        pytest.skip("the programs are watched with process groups and select()")
    base = tmp_path_factory.getbasetemp()
    return Program(tmp_path, base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(autouse=True)
def no_task_left() -> Iterator[None]:
    """After a test nothing in this thread is taken for a task any more, whose additions to accumulators would be its own."""
    yield
    from manyhands.transport import tally

    assert (tally.running.parts, tally.in_worker) == (None, None)


@pytest.fixture(autouse=True)
def no_tblib(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ``tblib`` were not installed here, unless the test asks for it: tracebacks arrive as text."""
    if request.node.get_closest_marker("tblib") is None:
        from manyhands.transport import errors

        monkeypatch.setattr(errors, "_found", [None])
