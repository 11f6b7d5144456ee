"""How the tasks of a call are to be run, beyond calling the function: with a random stream each, in the caller's context, by
workers that start warm.

A *way* is packed into the definition of a function (``definitions``), so that every worker that has the function has it,
and the same options make the same definition. Used by ``backends`` (``pack``), ``worker`` (``Way``), and by ``scheduling`` for
tasks that run in the caller.
"""

from __future__ import annotations

from _contextvars import copy_context

from manyhands.transport.serialize import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from manyhands.options import Options

#: The keyword in which a single task brings its index.
INDEX = "__manyhands_index__"


def _nothing() -> None:
    """Nothing is to be put back."""


def of(options: Options) -> Way | None:
    """Return the way that options ask for, in the context of this moment; None: there is nothing to it.

    Args:
        options: of the function.

    Example:
        >>> from manyhands import Options
        >>> of(Options(max_workers=2)) is None
        True
    """
    if not options.has_way:
        return None
    return Way(options.seed, copy_context() if options.context else None, options.warm_cache)


def unpack(packed: bytes) -> Way:
    """Return a way in another process.

    Args:
        packed: what ``Way.pack`` has returned.
    """
    seed, context, warm = loads(packed)
    if context is not None:
        from manyhands.engine.contexts import unpack

        context = unpack(context)
    return Way(seed, context, warm)


class Way:
    """A way, ready to be gone in this process.

    Args:
        seed: of the random streams; None: there are none.
        context: of which each task has a copy; None: it runs in whichever there is.
        warm: so many entries of the caches of helpers go to who replaces a worker; None: none. See ``warming``.
    """

    def __init__(self, seed: int | None, context: Context | None, warm: int | None = None) -> None:
        self._seed = seed
        self._context = context
        self.warm = warm
        #: Tasks have a random state of their own, which must be put back before anything else runs.
        self.seeds = seed is not None

    def pack(self) -> bytes:
        """Return it as bytes, warning of what cannot travel."""
        context = None
        if self._context is not None:
            from manyhands.engine.contexts import pack

            context = pack(self._context)
        return dumps((self._seed, context, self.warm))

    def chunk(self, call: Callable[[Any], Any], index: int | None) -> Callable[[Any], Any]:
        """Return what to call with the items of a chunk, in their order.

        Args:
            call: what would be called.
            index: of the first item; None: each brings its own, see ``single``.
        """
        if self._seed is not None and index is not None:
            from manyhands.engine.seeding import Seeded

            call = Seeded(call, self._seed, index)
        return self.inside(call)

    def inside(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs ``call`` in the context.

        Args:
            call: what to run.
        """
        context = self._context
        if context is None:
            return call
        return lambda *args, **kwargs: context.copy().run(call, *args, **kwargs)

    def here(
        self, call: Callable[[Any], Any], index: int
    ) -> tuple[Callable[[Any], Any], Callable[[], object]]:
        """Return what to call with items in the caller's process, and what to call when that is over.

        Args:
            call: what would be called.
            index: of the first item.
        """
        if self._seed is None:
            return self.inside(call), _nothing
        from manyhands.engine.seeding import Seeded

        seeded = Seeded(call, self._seed, index)
        return self.inside(seeded), seeded.close

    def single(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to call for a task that may bring its index along.

        Args:
            function: the function.
        """
        seed = self._seed
        if seed is None:
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            from manyhands.engine.seeding import start

            if INDEX in kwargs:
                start(seed, kwargs.pop(INDEX))
            return function(*args, **kwargs)

        return call
