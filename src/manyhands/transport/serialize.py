"""Objects to bytes: pickle where it does, cloudpickle where it does not, and never the slow failure twice.

``pickle`` writes functions and classes as a module and a name. That is right when the worker finds the same object under
that name, and wrong for everything in ``__main__``, which workers never run: such objects travel by value. An ``Encoder``
remembers which types needed that, so that a failed attempt is paid once for each type, not for each item.

A class that travels by value is a few thousand bytes, and a few hundred microseconds; its instances should not pay that each.
An ``Encoder`` with a book of classes writes them as references, and whoever sends the bytes sends the classes before
them (``definitions.extend``). They are known by cloudpickle's own tracking numbers, so that a class that comes inside
a function is the same class.

Above ``captured``; used by ``backends`` for definitions and tasks, by ``engine.worker`` for results.
"""

from __future__ import annotations

import marshal
import sys
from _pickle import dumps as pickle
from _pickle import loads
from _weakrefset import WeakSet
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pickle import PickleBuffer
    from typing import Any

    from manyhands.transport.arena import Frame

    #: Puts a pickle and the buffers that it was made without into shared memory; None: there is no room.
    Store = Callable[[bytes, Sequence[memoryview]], Frame | None]

__all__ = ["ATOMIC", "PROTOCOL", "Encoder", "by_value", "dumps", "loads", "pickle", "reference"]

PROTOCOL = 5

#: From so many bytes on a buffer, or a whole pickle, goes through shared memory. Measured: with 128 KiB a task takes as long
#: by either way, with 64 KiB the channel is quicker by a tenth, with 1 MiB shared memory by a factor of three.
THRESHOLD = 1 << 17

#: Immutable and without identity: a batch of them can be one pickle, and none of them can fail to pickle.
ATOMIC = frozenset({int, float, complex, str, bytes, bool, type(None)})

_MAIN = b"__main__"


class Encoder:
    """Encodes the objects of one call, or the results of one worker.

    Args:
        book: classes that the other side knows, or is going to be told of before it decodes: by class, their tracking
            numbers. None: every class that has to be written out is.
        learn: put classes into the book as they come.
        store: puts large things into shared memory; None: they are in the bytes, as all others.

    Example:
        >>> encoder = Encoder()
        >>> loads(encoder.encode((1, "two")))
        (1, 'two')
        >>> loads(encoder.encode(lambda: 3))()
        3
    """

    def __init__(
        self, book: dict[type, str] | None = None, *, learn: bool = False, store: Store | None = None
    ) -> None:
        self.book = book
        self._learn = learn
        self._store = store
        self._aside: list[memoryview] = []  # buffers of the object that is being pickled
        self._by_value: set[type] = set()

    def encode(self, obj: object) -> bytes:
        """Return the bytes of one object.

        Raises:
            Exception: whatever cloudpickle, or the object's own code, makes of an object that cannot be pickled.
        """
        kind = type(obj)
        if kind in ATOMIC:
            data = pickle(obj, PROTOCOL)
            if self._store is not None and len(data) >= THRESHOLD:
                return self._store(data, ()) or data
            return data
        if self._store is None:
            return self._encode(obj, None)
        if self._aside:  # of an object that could not be pickled
            self._aside = []
        data = self._encode(obj, self._put_aside)
        aside = self._aside
        if not aside and len(data) < THRESHOLD:
            return data
        self._aside = []
        return self._store(data, aside) or (self._encode(obj, None) if aside else data)

    def _encode(self, obj: object, put_aside: Callable[[PickleBuffer], bool] | None) -> bytes:
        if put_aside is None or "numpy" not in sys.modules:
            return self._pickled(obj, put_aside)
        # It is on its way to another process: arrays that are mapped files travel as these.
        files = _files or _load_files()
        active = files.active
        before, active.on = active.on, files.register()
        try:
            return self._pickled(obj, put_aside)
        except files.Mapped:
            self._aside = []
            active.views = True
            return by_value(obj, self.book, self._learn, put_aside)
        finally:
            active.on, active.views = before, False

    def _pickled(self, obj: object, put_aside: Callable[[PickleBuffer], bool] | None) -> bytes:
        kind = type(obj)
        if kind not in self._by_value:
            try:
                data = pickle(obj, PROTOCOL, buffer_callback=put_aside)
            except Exception:
                data = _MAIN
            if _MAIN not in data:
                return data
            self._by_value.add(kind)
            self._aside = []
        return by_value(obj, self.book, self._learn, put_aside)

    def _put_aside(self, buffer: PickleBuffer) -> bool:
        """Leave a large buffer out of the pickle; True: it goes into it."""
        try:
            raw = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if _files is not None and _files.active.on and not _files.active.views and _files.is_view(raw.obj):
            raise _files.Mapped
        if raw.nbytes < THRESHOLD:
            return True
        self._aside.append(raw)
        return False

    def encode_batch(self, items: Sequence[Any], *, tuples: bool) -> bytes | None:
        """Return all items in one (by ``marshal``, which is quicker) where that is the same as pickling each of them; else None.

        It is the same where no item has an identity that a task could see: two tasks given the same list object must not
        share it in the worker only because they happened to travel together.

        Args:
            items: the items.
            tuples: each item is a tuple of arguments, which is looked into.
        """
        if tuples and set(map(type, items)) != {tuple}:
            return None
        if set(map(type, chain.from_iterable(items) if tuples else items)) <= ATOMIC:
            try:
                data = marshal.dumps(list(items), 2)
            except ValueError:  # over 2 GiB
                return None
            if self._store is None or len(data) < THRESHOLD * len(items):
                return data
        return None


#: ``transport.files``, where NumPy has been loaded.
_files: Any = None


def _load_files() -> Any:
    global _files
    from manyhands.transport import files

    _files = files
    return files


def dumps(obj: object) -> bytes:
    """Return the bytes of one object; see ``Encoder.encode``."""
    return Encoder().encode(obj)


def by_value(
    obj: object,
    book: dict[type, str] | None = None,
    learn: bool = False,
    put_aside: Callable[[PickleBuffer], bool] | None = None,
) -> bytes:
    """Pickle with everything that only this process knows written out, but for the classes in the book."""
    from io import BytesIO

    file = BytesIO()
    pickler = _by_value_pickler()(file, protocol=PROTOCOL, buffer_callback=put_aside)
    pickler.book, pickler.learn = book, learn
    pickler.dump(obj)
    return file.getvalue()


def class_of(number: str) -> Any:
    """Return the class with that tracking number; what pickles of instances refer to."""
    from cloudpickle.cloudpickle import _DYNAMIC_CLASS_TRACKER_BY_ID

    return _DYNAMIC_CLASS_TRACKER_BY_ID[number]


_pickler: Any = None


def _by_value_pickler() -> Any:
    """``cloudpickle.Pickler``, with a few answers of its own."""
    global _pickler
    if _pickler is not None:
        return _pickler
    import types
    from collections import ChainMap
    from contextvars import ContextVar
    from functools import _lru_cache_wrapper
    from io import TextIOWrapper

    import cloudpickle
    from cloudpickle.cloudpickle import _get_or_create_tracker_id, _make_skeleton_class, _make_skeleton_enum

    from manyhands.transport.variables import reduce_variable

    # 3.15; cloudpickle 3.1 refuses what a lazy import (PEP 810) has left
    lazy = getattr(types, "LazyImportType", None)

    written_out = (_make_skeleton_class, _make_skeleton_enum)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        # A file that is open for reading would be read to its end, and arrive as a copy of its text in memory.
        dispatch_table = ChainMap(  # noqa: RUF012 - cloudpickle's own form
            {
                TextIOWrapper: _refuse_file,
                memoryview: _keep_view,
                ContextVar: reduce_variable,
                types.CodeType: _reduce_code,
            },
            cloudpickle.Pickler.dispatch_table,
        )

        book: dict[type, str] | None = None
        learn = False

        def reducer_override(self, obj: Any) -> Any:
            if _files is not None and _files.active.views and type(obj).__name__ == "ndarray":
                found = _files.reduced(obj)
                return NotImplemented if found is None else found
            if lazy is not None and isinstance(obj, lazy):
                return _itself, (obj.resolve(),)
            if isinstance(obj, _lru_cache_wrapper) and named(obj) is not obj:  # by itself, it is but a name
                return _cached, (obj.__wrapped__, obj.cache_parameters())
            if not isinstance(obj, type):
                return super().reducer_override(obj)
            if self.book is not None and obj in self.book:
                return class_of, (self.book[obj],)
            reduced = super().reducer_override(obj)
            if not isinstance(reduced, tuple) or reduced[0] not in written_out:
                return reduced
            if self.book is not None and self.learn:
                self.book[obj] = _get_or_create_tracker_id(obj)
                return class_of, (self.book[obj],)
            return _with_slots(obj, *reduced)

        def _dynamic_function_reduce(self, func: Any) -> Any:
            try:
                reduced = super()._dynamic_function_reduce(func)
            except Exception:
                if getattr(func, "__annotate__", None) is None:
                    raise
                # Annotations that name what is not there: cloudpickle 3.1 asks for their values. They stay here.
                reduced = super()._dynamic_function_reduce(_without_annotations(func))
            if func.__module__ != "__main__":
                return reduced
            return (*reduced[:5], _set_function)

    _pickler = Pickler
    return Pickler


def _without_annotations(function: Any) -> Any:
    """Return a copy of a function that has none (PEP 649)."""
    names = function.__globals__, function.__name__, function.__defaults__, function.__closure__
    copy = type(function)(function.__code__, *names)
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__", "__type_params__"):
        setattr(copy, name, getattr(function, name))
    copy.__dict__.update(function.__dict__)
    return copy


#: In a worker: the globals of ``__main__`` that its initializer has set.
own: dict[str, Any] = {}


def _set_function(function: Any, state: Any) -> None:
    """Fill a function of ``__main__`` as cloudpickle does, then with what the initializer has set for it."""
    from cloudpickle.cloudpickle import _function_setstate

    _function_setstate(function, state)
    function.__globals__.update(own)


def _with_slots(kind: type, make: Any, arguments: tuple[Any, ...], state: Any, *rest: Any) -> tuple[Any, ...]:
    """Make of a class with slots a class with slots again.

    cloudpickle 3.1 makes one with a ``__dict__``; its instances could not come back as those of the class here.
    """
    from types import MemberDescriptorType

    named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")  # brings its empty slots itself
    if named_tuple or make.__name__ != "_make_skeleton_class" or "__slots__" not in kind.__dict__:
        return make, arguments, state, *rest
    metaclass, name, bases, keywords, *others = arguments
    members, registry = state
    members = {
        key: value
        for key, value in members.items()
        if key != "__slots__" and not isinstance(value, MemberDescriptorType)
    }
    keywords = {**keywords, "__slots__": kind.__dict__["__slots__"]}
    return make, (metaclass, name, bases, keywords, *others), (members, registry), *rest


def _refuse_file(file: Any) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError(f"cannot pickle {type(file).__name__!r} object")


def _keep_view(view: memoryview) -> Any:
    """A view of bytes arrives as a view of bytes (cloudpickle would make plain bytes of it)."""
    if view.ndim != 1 or view.format != "B":
        raise TypeError("cannot pickle a memoryview of anything but bytes")
    if view.contiguous:
        from pickle import PickleBuffer

        return memoryview, (PickleBuffer(view),)
    return memoryview, ((bytes if view.readonly else bytearray)(view),)


def _reduce_code(code: Any) -> Any:
    """As cloudpickle does, and with the name of the file, which cloudpickle 3.1.3 leaves out: tracebacks show lines of it."""
    from cloudpickle.cloudpickle import _code_reduce

    make, arguments = _code_reduce(code)
    return make, (*arguments[:_FILENAME], "".join(code.co_filename), *arguments[_FILENAME + 1 :])


#: The place of the file's name among the arguments of a code object, from Python 3.11 on.
_FILENAME = 10

#: Functions with an ``lru_cache`` that have come here by value.
arrived: WeakSet[Any] = WeakSet()


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    """A function with an ``lru_cache`` that travels by value arrives with an empty one."""
    from functools import lru_cache

    made = lru_cache(**parameters)(function)
    arrived.add(made)
    return made


def _itself(obj: Any) -> Any:
    return obj


def reference(obj: Any) -> tuple[str, str] | None:
    """Return the module and qualified name under which a worker will find this very object, or None.

    Example:
        >>> import json
        >>> reference(json.dumps)
        ('json', 'dumps')
        >>> reference(lambda: None) is None
        True
    """
    return (obj.__module__, obj.__qualname__) if named(obj) is obj and obj is not None else None


def named(obj: Any) -> Any:
    """Return what a worker finds under the module and qualified name of an object; None where it finds nothing."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
