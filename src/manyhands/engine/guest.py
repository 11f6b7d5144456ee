"""What a worker owes its caller, whose guest it is: what tasks print, log and warn of arrives there, as if they ran there.

Text goes out in whole lines: straight to the descriptor that worker and caller share, or, where the caller's
``sys.stdout`` or ``sys.stderr`` is something else (pytest's capture, a notebook, ``redirect_stdout``), in messages to the
pool. They go through the same channel as results and before them, so that no line comes later than the result of its task.
Log records go the same way to the caller's handlers, warnings to the caller's filters. The other side is ``host``, which
also says what there is to know of the caller (a HOST message) before anything runs and whenever it has changed.

Loaded by ``worker`` with the first such message. ``logging`` and ``warnings`` are left alone until a task loads them.
"""

from __future__ import annotations

import io
import sys
from _pickle import loads
from _thread import RLock

from manyhands.engine.arrivals import when_loaded
from manyhands.engine.lines import Lines
from manyhands.transport import channel as wire
from manyhands.transport.serialize import ATOMIC, PROTOCOL, dumps, pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable
    from typing import Any

    from manyhands.transport.channel import Buffer, Channel
    from manyhands.transport.journal import Journal

#: What a SAY message brings, its flags.
OUT, ERR, RECORD, WARNING = 0, 1, 2, 3


class Guest:
    """One worker as a guest.

    Args:
        channel: of the worker; from now on several threads may send.
        journal: of the worker.
    """

    def __init__(self, channel: Channel, journal: Journal) -> None:
        self.forward = False
        self.owned = True
        self._lock = RLock()
        self._send = channel.send
        self._held: list[tuple[int, bytes]] = []  # said while this thread was sending something else
        self._warned = False  # in this chunk
        self._filters: list[Any] | None = None
        self._logs: tuple[dict[str, int], frozenset[str], int] | None = None
        self._levels: set[str] = set()
        self._unknown: list[Any] = []  # the categories of filters, of modules that are not loaded here
        channel.send = self.send  # type: ignore[method-assign]
        self._lines = []
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            old = getattr(sys, name)
            lines = Lines(self, descriptor, journal)
            self._lines.append(lines)
            stream = io.TextIOWrapper(
                lines,  # type: ignore[type-var, unused-ignore]
                encoding=_text_of(old, "encoding", "utf-8"),
                errors=_text_of(old, "errors", "backslashreplace"),
                newline="\n",
                write_through=True,
            )
            stream.mode = "w"  # type: ignore[misc]
            setattr(sys, name, stream)
        self._styles = [(sys.stdout.encoding, sys.stdout.errors), (sys.stderr.encoding, sys.stderr.errors)]
        self._streams: list[Any] = [sys.stdout, sys.stderr]

    def learn(self, about: tuple[bool, bytes, bytes]) -> None:
        """Take over what has changed at the caller's.

        Args:
            about: whether text is forwarded; the warnings filters; what is known of loggers; see ``host``.
        """
        forward, filters, logs = about
        if forward != self.forward:
            self.forward = forward
            for stream, (encoding, errors) in zip(self._streams, self._styles, strict=True):
                try:
                    if forward:  # whatever it is written to there, it is text
                        stream.reconfigure(encoding="utf-8", errors="surrogatepass")
                    else:
                        stream.reconfigure(encoding=encoding, errors=errors)
                except ValueError:  # a task has closed it
                    pass
        if filters:
            when_loaded("warnings", lambda: self._set_filters(filters))
        if logs:
            when_loaded("logging", lambda: self._set_levels(logs))
        else:
            when_loaded("logging", self._take_logging)

    def disown(self) -> None:
        """In a process that a task has forked: nothing goes through the channel."""
        self.forward = self.owned = False
        self._lock = RLock()
        for lines in self._lines:
            lines.disown()

    # the channel

    def send(self, kind: int, parts: Iterable[Buffer], **fields: float) -> None:
        """In place of the channel's: other threads of a task, too, may have something to say."""
        with self._lock:
            self._send(kind, parts, **fields)
            if kind == wire.DONE and self._warned:
                self._warned = False
                self._forget_places()
            while self._held:
                flags, body = self._held.pop(0)
                self._send(wire.SAY, [body], flags=flags)

    def say(self, what: int, body: bytes) -> None:
        """Send something to the host."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            self._held.append((what, body))  # a finalizer, or a signal's handler: after what is on its way
        else:
            self.send(wire.SAY, [body], flags=what)

    # log records

    def _set_levels(self, blob: bytes) -> None:
        import logging

        self._take_logging()
        self._logs = levels, _, disabled = loads(blob)
        for name in self._levels - levels.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in levels.items():
            logger = logging.getLogger(name)
            if logger.level != level:
                logger.setLevel(level)
        self._levels = set(levels) - {"root"}
        logging.disable(disabled)

    def _take_logging(self) -> None:
        """See every record before handlers do; once."""
        import logging

        original = logging.Logger.callHandlers
        if getattr(original, "guest", None) is self:
            return

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if self.owned and (self._handled(logger.name) or not logger.hasHandlers()):
                self._forward_record(record)
            else:
                original(logger, record)

        call_handlers.guest = self  # type: ignore[attr-defined]
        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]

    def _handled(self, name: str) -> bool:
        """Whether the caller has handlers for a logger: then they, and not those that the same code has added here."""
        if self._logs is None:
            return False
        handled = self._logs[1]
        if "root" in handled:
            return True
        while name:
            if name in handled:
                return True
            name = name.rpartition(".")[0]
        return False

    def _forward_record(self, record: logging.LogRecord) -> None:
        import logging

        content = dict(record.__dict__)
        try:
            content["msg"] = record.getMessage()
        except Exception:  # its arguments do not fit: said here as there
            logging.Handler().handleError(record)
            return
        content["args"] = None
        if record.exc_info:
            content["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
            content["exc_info"] = None
        extras = {key: value for key, value in content.items() if type(value) not in ATOMIC}
        for key in extras:
            del content[key]
        packed = {key: _packed(value) for key, value in extras.items()}
        self.say(RECORD, pickle((content, packed), PROTOCOL))

    # warnings

    def _set_filters(self, blob: bytes) -> None:
        import warnings

        if self._filters is None:
            shown = warnings.showwarning

            def show(
                message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
            ) -> None:
                if self.owned and file is None:
                    self._forward_warning(message, category, filename, lineno)
                else:
                    shown(message, category, filename, lineno, file, line)

            warnings.showwarning = show
        self._filters = loads(blob)
        self._apply_filters()

    def _apply_filters(self) -> None:
        """Have the caller's filters here; what is to be shown, or not again, is the caller's to say."""
        import warnings

        assert self._filters is not None
        self._unknown = []
        known = []
        for action, message, (module, name), *rest in self._filters:
            category = _named(module, name)
            if category is None:
                self._unknown.append(module)
            else:
                known.append(
                    (action if action in {"error", "ignore"} else "default", message, category, *rest)
                )
        warnings.filters[:] = known  # type: ignore[index]
        self._forget_places()

    def _forget_places(self) -> None:
        """Let a place warn again. Within a chunk once is enough; between two the caller may have begun to listen."""
        import warnings

        warnings.simplefilter("default", append=True)  # says that the filters have changed

    def _forward_warning(self, message: Any, category: Any, filename: str, lineno: int) -> None:
        import warnings

        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != filename:
            frame = frame.f_back
        module = None if frame is None else frame.f_globals.get("__name__")
        if any(name in sys.modules for name in self._unknown):  # a filter may be about this one
            self._apply_filters()
            if not any(name in sys.modules for name in self._unknown):
                warnings.warn_explicit(message, category, filename, lineno, module)
                return
        self._warned = True
        packed = _packed(message)
        self.say(
            WARNING, pickle((packed, str(message), category.__name__, filename, lineno, module), PROTOCOL)
        )


def _packed(value: Any) -> bytes:
    """Something that is part of a record, or what it looks like."""
    try:
        data = dumps(value)
        loads(data)
    except Exception:
        return dumps(repr(value))
    return data


def _named(module: str, name: str) -> Any:
    """Return a class by its name, if its module is loaded."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _text_of(stream: Any, name: str, default: str) -> str:
    value = getattr(stream, name, None)
    return value if isinstance(value, str) else default
