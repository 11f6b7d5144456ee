"""Exceptions across processes: their own type, arguments and attributes, or a stand-in that the same ``except`` catches.

An exception is packed where it was raised, and unpacked there once for trial: one whose class cannot be built from its
``args`` (a constructor with other parameters), or that refuses to pickle, would otherwise break in the caller. Three ways,
the first that works:

1. pickled as it is, when the copy has the same type, arguments and attributes;
2. taken apart: class, arguments and attributes each by themselves, put together without calling ``__init__``; a part that
   cannot travel is replaced by a ``Placeholder`` that shows its repr;
3. when the class itself cannot travel: a stand-in class of the same name, derived from the nearest base that can.
"""

from __future__ import annotations

from manyhands.exceptions import RemoteTraceback
from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        own: the file of the worker's own code, whose frames at the top of the traceback say nothing to the reader.
    """
    return dumps((_pack(error), traceback_text(error, own)))


def unpack(data: bytes | memoryview) -> BaseException:
    """Return the exception of ``pack``, with the worker's traceback as its cause; never fails."""
    try:
        packed, text = loads(data)
        error = _unpack(packed)
    except BaseException as failure:
        error, text = failure, f"(the exception of the worker could not be read: {failure!r})"
    error.__cause__ = RemoteTraceback(text)
    return error


def traceback_text(error: BaseException, own: str = "") -> str:
    """Return the traceback of an exception as text, without the outermost frames that are in the file ``own``."""
    import traceback

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == own:
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception as failure:  # a __str__ or __cause__ that raises
        return f"{type(error).__qualname__} (its traceback could not be formatted: {failure!r})"


def _pack(error: BaseException) -> tuple[str, Any]:
    try:
        data = dumps(error)
        if _alike(error, loads(data)):
            return "whole", data
    except BaseException:
        pass
    cls = type(error)
    if isinstance(error, BaseExceptionGroup):
        arguments: list[Any] = [_part(error.message), [_pack(member) for member in error.exceptions]]
    else:
        arguments = [_part(argument) for argument in error.args]
    state = {name: _part(value) for name, value in vars(error).items()}
    bases = [
        data for base in cls.__mro__ if issubclass(base, BaseException) for data in [_class(base)] if data
    ]
    exact = _class(cls) is not None
    return "parts", (bases[0], None if exact else (cls.__module__, cls.__qualname__), arguments, state)


def _alike(error: BaseException, copy: Any) -> bool:
    return (
        type(copy) is type(error)
        and [type(argument) for argument in copy.args] == [type(argument) for argument in error.args]
        and vars(copy).keys() == vars(error).keys()
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
        arguments = [loads(parts[0]), [_unpack(member) for member in parts[1]]]
    else:
        arguments = [loads(part) for part in parts]
    error: BaseException = native.__new__(cls, *arguments)
    if not isinstance(error, BaseExceptionGroup):
        error.args = tuple(arguments)
    vars(error).update((name, loads(value)) for name, value in state.items())
    return error


def crash(pid: int, exitcode: int | None) -> BaseException:
    """The error for a task whose worker died under it."""
    from manyhands.exceptions import WorkerCrashedError

    return WorkerCrashedError(
        f"worker {pid} {_ending(exitcode)} while it ran this task; the other tasks are not affected",
        pid=pid,
        exitcode=exitcode,
    )


def _ending(exitcode: int | None) -> str:
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
        "SIGKILL": "killed from outside, very often by the system because memory ran out",
        "SIGSEGV": "a crash in compiled code, or recursion too deep for its stack",
        "SIGABRT": "compiled code gave up",
        "SIGBUS": "a crash in compiled code, or a mapped file that shrank",
        "SIGTERM": "ended from outside",
    }
    reason = f": {reasons[name]}" if name in reasons else ""
    return f"was killed by {name}({exitcode}){reason},"
