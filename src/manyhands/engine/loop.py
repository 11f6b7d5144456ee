"""The loop: one thread that owns every descriptor and deadline of a pool, and sleeps in a selector when there is nothing.

Other threads hand it work with ``call_soon``; everything else belongs to the loop thread.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import sys
import threading
from _thread import get_ident
from collections import deque
from time import monotonic

from manyhands.engine.interrupts import leave_to_main_thread
from manyhands.transport.descriptors import pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Timer:
    """A callback at a time; ``cancel`` makes it do nothing."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class Loop:
    """A selector loop in a thread of its own.

    Args:
        name: the thread's name.

    Every action is called with ``guard`` held, so that another thread that holds it may touch what the loop owns. What runs
    other people's code is not done under it: actions put that into ``afterwards``, as pairs of a function and its argument.
    """

    def __init__(self, name: str = "manyhands") -> None:
        self.guard = threading.RLock()
        self.afterwards: list[tuple[Callable[[Any], object], Any]] = []
        self.delivering = False  # the loop thread is at what it has taken from there
        self._selector = selectors.DefaultSelector()
        # The selector's own object: its modify() costs several times as much, and has no word for "nothing".
        epoll = getattr(self._selector, "_selector", None)
        self._epoll: Any = epoll if type(epoll).__name__ == "epoll" else None
        self._soon: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._woken, self._waker = pair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._signalled = False
        self._running = True
        self._selector.register(self._woken, selectors.EVENT_READ, (self._drain, None))
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def call_soon(self, action: Callable[[], object]) -> None:
        """Have the loop thread call ``action``; from any thread."""
        self._soon.append(action)
        if not self._signalled:  # one byte wakes it for any number of actions
            self._signalled = True
            try:
                self._waker.send(b"w")
            except OSError:  # full: it is awake already; closed: it does not matter any more
                pass

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Call ``action`` after ``delay`` seconds; by who holds ``guard``."""
        timer = Timer(action)
        heapq.heappush(self._timers, (monotonic() + delay, next(self._order), timer))
        if not self.inside():  # it may be asleep until something later
            self.call_soon(_nothing)
        return timer

    def watch(
        self, descriptor: int, reader: Callable[[], object], writer: Callable[[], object] | None = None
    ) -> None:
        """Call ``reader`` when the descriptor can be read, and ``writer``, if given, when it can be written."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writer else 0)
        if descriptor in self._selector.get_map():
            self._selector.modify(descriptor, events, (reader, writer))
        else:
            self._selector.register(descriptor, events, (reader, writer))

    def pause(self, descriptor: int) -> bool:
        """Leave a watched descriptor to another thread for a while, in a microsecond; False where there is no such way.

        That the other end has gone is heard of all the same.
        """
        return self._modify(descriptor, 0)

    def resume(self, descriptor: int) -> None:
        """Undo ``pause``."""
        self._modify(descriptor, selectors.EVENT_READ)

    def _modify(self, descriptor: int, events: int) -> bool:
        if self._epoll is None:
            return False
        try:
            self._epoll.modify(descriptor, events)
        except FileNotFoundError:  # it is watched no longer
            return False
        return True

    def unwatch(self, descriptor: int) -> None:
        try:
            self._selector.unregister(descriptor)
        except (KeyError, ValueError):
            pass

    def stop(self) -> None:
        """End the loop after what it is doing; from any thread."""

        def end() -> None:
            self._running = False

        self.call_soon(end)

    def inside(self) -> bool:
        """Tell whether the calling thread is the loop thread."""
        return self.thread.ident == get_ident()

    def close(self) -> None:
        """Give the descriptors back; only when the thread has ended, or in a forked child that has no such thread."""
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def _run(self) -> None:
        leave_to_main_thread()
        while self._running:
            for key, events in self._selector.select(self._patience()):
                reader, writer = key.data
                if events & selectors.EVENT_WRITE and writer is not None:
                    self._do(writer)
                if events & selectors.EVENT_READ and key.fd in self._selector.get_map():
                    self._do(reader)
            now = monotonic()
            while self._timers and self._timers[0][0] <= now:
                _, _, timer = heapq.heappop(self._timers)
                if timer.action is not None:
                    self._do(timer.action)
            self._signalled = False
            for _ in range(len(self._soon)):
                self._do(self._soon.popleft())

    def _patience(self) -> float | None:
        if self._soon:
            return 0
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - monotonic()) if self._timers else None

    def take_afterwards(self) -> list[tuple[Callable[[Any], object], Any]]:
        """What is to be done when the guard is let go; by who holds it."""
        taken, self.afterwards = self.afterwards, []
        return taken

    def leave(self, todo: list[tuple[Callable[[Any], object], Any]]) -> None:
        """Have the loop thread do what another has taken, before anything that comes later; by who holds the guard."""
        self.afterwards[:0] = todo
        if self.afterwards:
            self.call_soon(_nothing)

    def _do(self, action: Callable[[], object]) -> None:
        """The loop outlives whatever goes wrong in one action, and says so."""
        with self.guard:
            self._try(lambda _: action(), None)
            todo = self.take_afterwards()
            self.delivering = bool(todo)
        for call, argument in todo:
            self._try(call, argument)
        self.delivering = False

    def _try(self, call: Callable[[Any], object], argument: Any) -> None:
        try:
            call(argument)
        except BaseException:
            if sys.stderr is not None:
                sys.excepthook(*sys.exc_info())

    def _drain(self) -> None:
        try:
            self._woken.recv(4096)
        except (BlockingIOError, InterruptedError):
            pass


def _nothing() -> None:
    """Something to wake up for."""
