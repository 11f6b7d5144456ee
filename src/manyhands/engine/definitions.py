"""Functions and items as bytes: what is sent to workers once, and what is sent with each chunk.

Used by ``executor`` and by ``backends.processes``; in the caller's thread, so that what cannot travel is refused there.
"""

from __future__ import annotations

import _thread
import itertools
import os
from collections import OrderedDict
from time import monotonic

from manyhands.captured import globals_read, snapshot
from manyhands.captured.reads import cached_helpers
from manyhands.engine.interrupts import HeldBack
from manyhands.engine.streams import Definition
from manyhands.exceptions import SharedStateError
from manyhands.transport.arena import Frame, leased, leases_of, size_of
from manyhands.transport.frames import join
from manyhands.transport.frozen import Frozen, opened
from manyhands.transport.serialize import Encoder, by_value, dumps, loads, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from manyhands.engine.ways import Way
    from manyhands.transport.serialize import Store

# Shapes of a call, how an item becomes arguments: f(item), f(*item), f(*item[0], **item[1]). The worker's words.
ONE, MANY, FULL = 0, 1, 2
BATCH = 4

#: Definitions kept so that a second call sends nothing: so many, of so many bytes together.
KEPT_DEFINITIONS, KEPT_BYTES = 128, 64 << 20

_definitions: OrderedDict[bytes, Definition] = OrderedDict()
#: Functions that workers find by name and that read no globals: nothing about them can have changed.
_by_name: dict[int, tuple[Any, Definition]] = {}
_numbers = itertools.count(1)
_lock = _thread.allocate_lock()


class Packed:
    """Items as bytes, and how to read them."""

    __slots__ = ("body", "flags")

    def __init__(self, body: list[bytes], flags: int) -> None:
        self.body = body
        self.flags = flags


def pack(encoder: Encoder, items: Sequence[Any], shape: int) -> tuple[Packed, int]:
    """Return items as bytes: all in one where nothing can tell the difference, else one for each.

    Raises:
        UnpicklableError: an item cannot travel; the message names the part of it that cannot.
    """
    if shape != FULL:
        batch = encoder.encode_batch(items, tuples=shape == MANY)
        if batch is not None:
            return Packed([batch], shape | BATCH), len(batch)
    frames = []
    for item in items:
        if type(item) is Frozen and not item.local:  # it has been pickled when it was read
            frames.append(item.frame)
            continue
        try:
            frames.append(encoder.encode(opened(item)))
        except BaseException as error:
            raise refused(item, shape, error) from error
    return Packed(join(frames), shape), sum(map(size_of, frames))


def refused(item: Any, shape: int, error: BaseException) -> BaseException:
    """The error for an item that cannot travel; an interrupt stays what it is, and what is shared no more says so itself."""
    from manyhands.transport.refusal import refuse

    if isinstance(error, (KeyboardInterrupt, SharedStateError)):
        return error
    if shape == ONE:
        return refuse(item, "args[0]", error, dumps)
    arguments, keywords = item if shape == FULL else (item, {})
    for root, part in [
        *((f"args[{place}]", part) for place, part in enumerate(arguments)),
        *keywords.items(),
    ]:
        try:
            dumps(part)
        except BaseException as failure:
            return refuse(part, root, failure, dumps)
    return refuse(item, "args", error, dumps)


def define(
    function: Any,
    constants: dict[str, Any],
    initializer: Any = None,
    reads: Any = None,
    way: Way | None = None,
    store: Store | None = None,
) -> Definition:
    """Return a function with its constants, and the module globals it reads, as a definition.

    The same content is the same definition: workers that have it are not sent it again.

    Args:
        function: the function, or what refers to it.
        constants: keywords that are the same for every task.
        initializer: what the workers' initializer sets is theirs, and not sent.
        reads: the function whose globals count, if ``function`` only calls it.
        way: how its tasks are run, if there is anything to that.
        store: puts what is large into shared memory.

    Raises:
        UnpicklableError: the function or a constant cannot travel; the message names what.
    """
    root = reads or getattr(function, "__manyhands__", function)
    refs = globals_read(root, initializer)
    quick = not constants and not refs and way is None and reference(function) is not None
    if quick:
        known = _by_name.get(id(function))
        if known is not None and known[0] is function:
            return known[1]
    name = getattr(function, "__qualname__", None) or type(function).__name__
    target = _sent(function, name, store)
    try:
        shared = Encoder(store=store).encode(constants) if constants else None
    except Exception:  # say which of them it is
        for key, value in constants.items():
            _sent(value, key)
        raise
    packed = None if way is None else way.pack()
    blob = dumps((target, shared, snapshot(refs), (), packed, bool(cached_helpers(root))))
    definition = _numbered(leased(blob, leases_of((target, shared))))
    if quick:
        with HeldBack(), _lock:
            if len(_by_name) >= KEPT_DEFINITIONS:
                _by_name.clear()
            _by_name[id(function)] = function, definition
    return definition


def extend(definition: Definition, book: dict[type, str]) -> Definition:
    """Return a definition with which workers also get the classes in an encoder's book.

    Args:
        definition: the function.
        book: the classes that items were written with as references.
    """
    target, shared, captured, _, *rest = loads(definition.blob)
    classes = [(number, by_value(kind)) for kind, number in book.items()]
    return _numbered(leased(dumps((target, shared, captured, classes, *rest)), leases_of((definition.blob,))))


def _numbered(blob: bytes) -> Definition:
    """The definition with this content."""
    with HeldBack(), _lock:
        definition = _definitions.get(blob)
        if definition is None:
            definition = _definitions[blob] = Definition(next(_numbers), blob)
            if type(blob) is Frame:
                _drop_unwanted()
            while len(_definitions) > 1 and (
                len(_definitions) > KEPT_DEFINITIONS or sum(map(len, _definitions)) > KEPT_BYTES
            ):
                _drop(next(iter(_definitions)))
        else:
            _definitions.move_to_end(blob)
            definition.used_at = monotonic()
    return definition


def _drop(blob: bytes) -> None:
    definition = _definitions.pop(blob)
    definition.dropped = type(definition.blob) is Frame


def _drop_unwanted() -> None:
    for blob in [each for each in _definitions if type(each) is Frame]:
        assert isinstance(blob, Frame)
        if not all(lease.wanted for lease in blob.leases):
            _drop(blob)


def let_go(seconds: float) -> None:
    """Drop definitions that keep shared memory and were not asked for in so many seconds; workers then forget them."""
    before = monotonic() - seconds
    with HeldBack(), _lock:
        for blob, definition in list(_definitions.items()):
            if type(definition.blob) is Frame and definition.used_at <= before:
                _drop(blob)


def _sent(part: Any, name: str, store: Store | None = None) -> bytes:
    try:
        return Encoder(store=store).encode(part)
    except (KeyboardInterrupt, SharedStateError):
        raise
    except BaseException as error:
        from manyhands.transport.refusal import refuse

        raise refuse(part, name, error, dumps) from error


def pack_initializer(initializer: Any, arguments: tuple[Any, ...]) -> bytes | None:
    """Return an initializer with its arguments as bytes, or None.

    Raises:
        UnpicklableError: it cannot travel.
    """
    return None if initializer is None else _sent((initializer, arguments), "initializer")


def _after_fork_in_child() -> None:
    global _lock
    _lock = _thread.allocate_lock()  # a thread that is not here may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
