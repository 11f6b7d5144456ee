"""Exceptions across processes: their own type, arguments and attributes, or a stand-in that the same ``except`` catches.

An exception is packed where it was raised, and unpacked there once for trial: one whose class cannot be built from its
``args`` (a constructor with other parameters), or that refuses to pickle, would otherwise break in the caller. Three ways,
the first that works:

1. pickled as it is, when the copy has the same type, arguments and attributes;
2. taken apart: class, arguments and attributes each by themselves, put together without calling ``__init__``; a part that
   cannot travel is replaced by a ``Placeholder`` that shows its repr;
3. when the class itself cannot travel: a stand-in class of the same name, derived from the nearest base that can.

Causes, contexts and the members of groups, which pickle leaves behind, are packed the same way, each by itself. Where
``tblib`` is installed they bring their tracebacks; else the whole traceback comes as text, as the cause of the last of them.
"""

from __future__ import annotations

import os

from manyhands.exceptions import RemoteTraceback
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

#: An exception brings so many of its causes and contexts; who raises in an endless loop has a very long chain.
LONGEST_CHAIN = 50


class Placeholder:
    """Stands where a part of an exception could not travel; shows what it was.

    Args:
        text: the repr of the part.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def pack(error: BaseException, own: str = "") -> bytes:
    """Return an exception as bytes; never fails.

    Args:
        error: the exception, with its traceback.
        own: the folder of the worker's own code, whose frames at the top of the traceback say nothing to the reader.
    """
    text = traceback_text(error, own)
    try:
        return dumps((_pack_chain(error, own, {}), text))
    except BaseException:  # one that lies about itself
        return dumps(((_stand_in(error), None, None, False, None), text))


def unpack(data: bytes | memoryview) -> BaseException:
    """Return the exception of ``pack``, with the worker's traceback; never fails, but for Ctrl-C."""
    try:
        packed, text = loads(data)
        error = _unpack_chain(packed)
    except BaseException as failure:
        if is_ctrl_c(failure):
            raise
        from manyhands.transport.refusal import safe_repr

        error, text = failure, f"(the exception of the worker could not be read: {safe_repr(failure)})"
        _put(error, "__traceback__", None)
    if _get(error, "__traceback__") is None:
        _put(_last(error), "__cause__", RemoteTraceback(text))
    return error


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an exception, if it takes one."""
    try:
        BaseException.add_note(error, text)
    except BaseException as failure:  # a class with notes of its own
        if is_ctrl_c(failure):
            raise


def is_ctrl_c(error: BaseException) -> bool:
    """Tell whether an exception may be the user's Ctrl-C: that comes in the main thread, and must never be lost.

    (In a worker it has no effect: there a ``KeyboardInterrupt`` is somebody's own.)
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    import threading

    return threading.current_thread() is threading.main_thread()


def again(error: BaseException) -> BaseException:
    """Return a copy of one of our own exceptions, for who must not share it: whoever raises one changes its traceback."""
    from copy import copy

    other = copy(error)
    other.__cause__ = error.__cause__
    return other


def traceback_text(error: BaseException, own: str = "") -> str:
    """Return the traceback of an exception as text, without the outermost frames that are in the folder ``own``."""
    import traceback

    try:
        return "".join(
            traceback.format_exception(type(error), error, _theirs(_get(error, "__traceback__"), own))
        )
    except BaseException as failure:  # a __str__ or __cause__ that raises
        from manyhands.transport.refusal import safe_repr

        return f"{type(error).__qualname__} (its traceback could not be formatted: {safe_repr(failure)})"


def _theirs(trace: TracebackType | None, own: str) -> TracebackType | None:
    while trace is not None and own and trace.tb_frame.f_code.co_filename.startswith(own):
        trace = trace.tb_next
    return trace


def _last(error: BaseException) -> BaseException:
    """The exception that all began with, as far as the chain tells."""
    for _ in range(LONGEST_CHAIN + 1):
        before = _get(error, "__cause__")
        if before is None and not _get(error, "__suppress_context__"):
            before = _get(error, "__context__")
        if before is None or isinstance(before, RemoteTraceback):
            break
        error = before
    return error


# one exception, and those it came from


def _pack_chain(error: BaseException, own: str, seen: dict[int, int | None]) -> Any:
    """An exception with its cause and context, whose number stands for one that has been packed before.

    None for one that has itself among those it came from, or is too far away.
    """
    if id(error) in seen:
        return seen[id(error)]
    if len(seen) >= LONGEST_CHAIN or isinstance(error, RemoteTraceback):
        return None
    number = len(seen)
    seen[id(error)] = None
    cause, context = (
        None if before is None else _pack_chain(before, own, seen)
        for before in (_get(error, "__cause__"), _get(error, "__context__"))
    )
    seen[id(error)] = number
    return _pack(error, own), cause, context, _get(error, "__suppress_context__"), _pack_trace(error, own)


def _unpack_chain(packed: Any, known: list[BaseException] | None = None) -> BaseException:
    if isinstance(packed, int):
        assert known is not None
        return known[packed]
    known = [] if known is None else known
    content, cause, context, suppress, trace = packed
    error = _unpack(content)
    known.append(error)
    _put(error, "__traceback__", _unpack_trace(trace))
    _put(error, "__cause__", None if cause is None else _unpack_chain(cause, known))
    _put(error, "__context__", None if context is None else _unpack_chain(context, known))
    _put(error, "__suppress_context__", suppress)
    return error


def _get(error: BaseException, name: str) -> Any:
    """A field of an exception, whatever its class makes of that name."""
    return vars(BaseException)[name].__get__(error)


def _put(error: BaseException, name: str, value: Any) -> None:
    vars(BaseException)[name].__set__(error, value)


def _pack_trace(error: BaseException, own: str) -> Any:
    trace = _theirs(_get(error, "__traceback__"), own)
    if trace is None or not _tblib():
        return None
    try:
        return _tblib().Traceback(trace).to_dict()
    except Exception:  # frames of code that it does not understand
        return None


def _unpack_trace(trace: Any) -> TracebackType | None:
    if trace is None or not _tblib():
        return None
    try:
        return _tblib().Traceback.from_dict(trace).as_traceback()  # type: ignore[no-any-return]
    except Exception:
        return None


def _tblib() -> Any:
    """The module ``tblib``, if there is one."""
    if not _found:
        try:
            import tblib  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            tblib = None
        _found.append(tblib)
    return _found[0]


_found: list[Any] = []


# one exception by itself


def _pack(error: BaseException, own: str) -> tuple[str, Any]:
    try:
        if not isinstance(error, BaseExceptionGroup):  # its members would come without their causes
            data = dumps(error)
            if _alike(error, loads(data)):
                return "whole", data
    except BaseException:
        pass
    if isinstance(error, BaseExceptionGroup):
        members = [_pack_chain(member, own, {id(error): None}) for member in error.exceptions]
        arguments: list[Any] = [_part(error.message), members]
    else:
        arguments = [_part(argument) for argument in _get(error, "args")]
    state = {name: _part(value) for name, value in _get(error, "__dict__").items()}
    return "parts", (*_kind(error), arguments, state)


def _kind(error: BaseException) -> tuple[bytes, tuple[str, str] | None]:
    """The nearest class of an exception that can travel, and the names of its own if it is not that."""
    cls = type(error)
    bases = [
        data for base in cls.__mro__ if issubclass(base, BaseException) for data in [_class(base)] if data
    ]
    exact = _class(cls) is not None
    return bases[0], None if exact else (str(cls.__module__), str(cls.__qualname__))


def _stand_in(error: BaseException) -> tuple[str, Any]:
    """An exception of which nothing but its class and its repr can be told."""
    from manyhands.transport.refusal import safe_repr

    return "parts", (*_kind(error), [dumps(Placeholder(safe_repr(error)))], {})


def _alike(error: BaseException, copy: Any) -> bool:
    return (
        type(copy) is type(error)
        and [type(argument) for argument in _get(copy, "args")]
        == [type(argument) for argument in _get(error, "args")]
        and _get(copy, "__dict__").keys() == _get(error, "__dict__").keys()
    )


def _part(value: Any) -> bytes:
    try:
        data = dumps(value)
        loads(data)
        return data
    except BaseException:
        from manyhands.transport.refusal import safe_repr

        return dumps(Placeholder(safe_repr(value)))


def _class(cls: type) -> bytes | None:
    try:
        data = dumps(cls)
        return data if loads(data) is cls else None
    except BaseException:
        return None


def _unpack(packed: tuple[str, Any]) -> BaseException:
    way, content = packed
    if way == "whole":
        return loads(content)  # type: ignore[no-any-return]
    data, original, parts, state = content
    cls: type[BaseException] = loads(data)
    if original is not None:
        module, name = original
        cls = type(name.rpartition(".")[2], (cls,), {"__module__": module, "__qualname__": name})
    native = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    if issubclass(cls, BaseExceptionGroup):
        arguments = [loads(parts[0]), [_unpack_chain(member) for member in parts[1]]]
    else:
        arguments = [loads(part) for part in parts]
    error: BaseException = native.__new__(cls, *arguments)
    if not isinstance(error, BaseExceptionGroup):
        _put(error, "args", tuple(arguments))
    _get(error, "__dict__").update((name, loads(value)) for name, value in state.items())
    return error


def crash(event: Any) -> BaseException:
    """The error for a task whose worker died under it, or was ended because the task's time was over.

    Args:
        event: what is known of it, an ``engine.streams.Crash``.
    """
    from manyhands.exceptions import TaskTimeoutError, WorkerCrashedError

    peak = f"; it had used up to {event.peak / 1e6:,.1f} MB of memory" if event.peak else ""
    if event.timeout is not None:
        stack = _without_ours(event.stack)
        where = f"; it was here:\n{stack}" if stack else "; it could not say where it was"
        return TaskTimeoutError(
            f"the task ran longer than its timeout of {event.timeout:g} s, and was ended with its worker {event.pid}{where}",
            limit=event.timeout,
            stack=stack,
            pid=event.pid,
        )
    return WorkerCrashedError(
        f"worker {event.pid} {event.fault or ending(event.exitcode)}{_starved(event)} while it ran this task{peak}; "
        "the other tasks are not affected",
        pid=event.pid,
        exitcode=event.exitcode,
        peak_memory=event.peak or None,
        out_of_memory=None if event.starved is None else event.starved > 0,
    )


def _without_ours(stack: str) -> str:
    """A stack as ``faulthandler`` writes it, innermost frame first, without the frames from which the worker called the task."""
    lines, ours = [], False
    for line in stack.splitlines():
        if not line.startswith("  File"):  # the head of a thread, or the list of extension modules at the end
            ours = not line.endswith("(most recent call first):")
        ours = ours or _OWN in line
        if not ours:
            lines.append(line)
    return "\n".join(lines)


_OWN = os.path.join("manyhands", "engine", "")


def _starved(event: Any) -> str:
    if event.starved is None:
        return ""
    if event.starved:
        return " The kernel has counted a kill for want of memory meanwhile: it was most likely that,"
    return " (the kernel has counted no kill for want of memory meanwhile: somebody has sent that signal)"


def ending(exitcode: int | None) -> str:
    """Return in words how a process has ended."""
    if exitcode is None:
        return "ended, nobody knows how,"
    if exitcode >= 0:
        return f"ended with exit code {exitcode} (os._exit, or a library that leaves by itself)"
    import signal

    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    reasons = {
        "SIGKILL": "ended from outside, by somebody or by the system because memory ran out",
        "SIGSEGV": "a crash in compiled code, or recursion too deep for its stack",
        "SIGABRT": "compiled code gave up",
        "SIGBUS": "a crash in compiled code, or a mapped file that shrank",
        "SIGTERM": "ended from outside",
    }
    reason = f": {reasons[name]}" if name in reasons else ""
    return f"was killed by {name}({exitcode}){reason},"
