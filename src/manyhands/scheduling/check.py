"""``f.check(items)``: runs a sample both ways, as a loop here and in a worker, and reports every difference.

The worker is a fresh one, and comes first: what would end this process ends the worker instead. It runs the items in
reverse, so that a result that depends on what ran before shows. Then the loop runs here, on copies of the arguments;
globals and variables of enclosing functions are the real ones and change as any loop changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.exceptions import InitializerError, OptionsError, StaleGlobalError, UnpicklableError
from manyhands.scheduling.compare import mismatch
from manyhands.scheduling.observing import Change, Probe, Surroundings, copied, globals_of, observe
from manyhands.scheduling.source import Source
from manyhands.transport.frozen import opened
from manyhands.transport.refusal import safe_repr
from manyhands.transport.serialize import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from manyhands.functions import ParallelFunction

#: A message is shown up to so many characters.
WIDTH = 200
#: What the caller sees when all is done.
AFTERWARDS = " afterwards"
#: What to do about each kind of difference.
_ADVICE = {
    "value": "The result depends on the process: on what only one of the two has, on its state, on chance or time.",
    "order": "The same results belong to other items: they depend on which tasks ran before. Give each task all it needs.",
    "exception": "",
    "argument": "What a task changes in place, it changes in its worker's copy: return the changed value instead.",
    "global": "What a task sets outside itself stays in its worker: return the value, and combine results in the caller.",
    "variable": "What a task sets outside itself stays in its worker: return the value, and combine results in the caller.",
    "unpicklable": "",
    "function": "",
}


class Difference(NamedTuple):
    """Something that is not the same here and in a worker.

    Args:
        item: the index of the item; None: it does not belong to one.
        kind: what differs: the "value", the "order" of values, the "exception"; what was changed: an "argument", a "global", a
            "variable" of an enclosing function; or what cannot be sent: "unpicklable" arguments, the "function".
        place: what differs, such as ``result[1]['a']``.
        here: what it is here, in words.
        there: what it is in a worker, or for its caller.

    Example:
        >>> print(Difference(3, "value", "result[1]['a']", "2", "3"))
        item 3: result[1]['a']: 2 here, 3 in a worker
    """

    item: int | None
    kind: str
    place: str
    here: str
    there: str

    def __str__(self) -> str:
        item = "" if self.item is None else f"item {self.item}: "
        where = "with" if self.place.endswith(AFTERWARDS) else "in"
        return f"{item}{self.place}: {self.here} here, {self.there} {where} a worker"


class Report:
    """What ``f.check(items)`` has found; true when nothing differs.

    Args:
        name: the function's name.
        items: how many items were run.
        differences: what differs.

    Example:
        >>> print(Report("square", 20, ()))
        square: 20 items give the same here and in a worker
        >>> print(Report("total", 1, (Difference(0, "value", "result", "1", "2"),)))
        total: 1 difference between here and a worker, in 1 item
          item 0: result: 1 here, 2 in a worker
        The result depends on the process: on what only one of the two has, on its state, on chance or time.
    """

    def __init__(self, name: str, items: int, differences: Iterable[Difference]) -> None:
        self.name = name
        self.items = items
        self.differences = tuple(differences)

    def __bool__(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        items = _number(self.items, "item")
        if not self.differences:
            return f"{self.name}: {items} give{'s' * (self.items == 1)} the same here and in a worker"
        lines = [
            f"{self.name}: {_number(len(self.differences), 'difference')} between here and a worker, in {items}"
        ]
        lines += [f"  {difference}" for difference in self.differences]
        kinds = dict.fromkeys(difference.kind for difference in self.differences)
        lines += dict.fromkeys(_ADVICE[kind] for kind in kinds if _ADVICE[kind])
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Report on {self.name}: {_number(self.items, 'item')}, {_number(len(self.differences), 'difference')}>"


def check(
    function: ParallelFunction[Any, Any], iterables: Sequence[Any], constants: dict[str, Any], sample: int
) -> Report:
    """Run the first items as a loop here and in a worker, and report what differs.

    Args:
        function: the decorated function.
        iterables: as for ``map``.
        constants: as for ``map``.
        sample: how many items.

    Returns:
        The report.

    Raises:
        TypeError: something is not iterable.
        OptionsError: ``sample`` is less than 1.
    """
    if sample < 1:
        raise OptionsError(f"sample must be at least 1, not {sample}: it is how many items are run")
    items = [tuple(item) if len(iterables) > 1 else (item,) for item in _first(Source(iterables), sample)]
    name = getattr(function, "__qualname__", None) or type(function.__wrapped__).__qualname__
    return Report(name, len(items), _sorted(_Check(function, items, constants).differences()))


def _first(source: Source, sample: int) -> list[Any]:
    """Return so many items, each as it was when it was given."""
    source.travel(dumps)
    found: list[Any] = []
    while len(found) < sample and not source.drained():
        found += map(opened, source.take(sample - len(found))[1])
    return found


class _Check:
    """One check: the two runs, and their comparison."""

    def __init__(
        self, function: ParallelFunction[Any, Any], items: list[tuple[Any, ...]], constants: dict[str, Any]
    ) -> None:
        self.function = function
        self.items = items
        self.constants = constants
        self.frames: dict[int, bytes] = {}
        self.there: dict[int, _Outcome] = {}
        self.here: dict[int, _Outcome] = {}

    def differences(self) -> Iterator[Difference]:
        yield from self._pack()
        if not self.frames:
            return
        try:
            self._run_there()
        except (UnpicklableError, InitializerError, StaleGlobalError) as error:
            yield Difference(None, "function", "the function", "runs", f"cannot run: {_first_line(error)}")
            return
        self._run_here()
        changed: set[str] = set()
        for index, there in self.there.items():
            here = self.here.get(index)
            if here is None:
                unknown = "(not run: it would end this process)"
                yield Difference(index, "exception", "the outcome", unknown, _raises(there.value))
                continue
            found = _compare(index, here, there)
            if found is not None:
                yield found
            yield from _changes(index, here.changes, there.changes, changed)

    def _pack(self) -> Iterator[Difference]:
        """Pickle each item as it would be sent to a worker."""
        from manyhands.engine.definitions import MANY, refused

        for index, arguments in enumerate(self.items):
            try:
                self.frames[index] = dumps(arguments)
                loads(self.frames[index])
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if index in self.frames:  # it is the copy that cannot be made: the same in a worker
                    del self.frames[index]
                    there = f"cannot be unpickled: {type(error).__name__}: {error}"
                else:
                    there = _first_line(refused(arguments, MANY, error))
                shown = ", ".join(map(safe_repr, arguments))
                yield Difference(index, "unpicklable", "the arguments", shown, there)

    def _run_there(self) -> None:
        from manyhands.engine.attending import TaskFuture
        from manyhands.engine.definitions import define, pack_initializer
        from manyhands.engine.pool import Pool
        from manyhands.engine.submissions import Submissions, Task
        from manyhands.engine.ways import INDEX, of
        from manyhands.transport.serialize import Encoder

        function, options = self.function, self.function.settings
        define(function._shipped(), self.constants, options.initializer)  # refuses with the words of a call
        plain = function.__wrapped__
        probe = define(
            Probe(function._shipped(), plain, self.constants, globals_of(plain)),
            {},
            options.initializer,
            way=of(options),
        )
        initializer = pack_initializer(options.initializer, options.initargs)
        pool = Pool(1, options.start_method, initializer, options.max_tasks_per_child)
        futures = {index: TaskFuture() for index in self.frames}
        try:
            submissions = Submissions(pool)
            for index, future in reversed(futures.items()):
                named = {} if options.seed is None else {INDEX: index}
                submissions.submit(Task(future, probe, Encoder().encode(((self.frames[index],), named))))
            self.there = {index: _received(future) for index, future in futures.items()}
        finally:
            pool.close()

    def _run_here(self) -> None:
        from manyhands.engine.ways import of
        from manyhands.exceptions import WorkerCrashedError

        plain, memory, options = self.function.__wrapped__, self.function._memory, self.function.settings
        if options.initializer is not None and not memory.initialized:
            options.initializer(*options.initargs)
            memory.initialized = True
        wanted = [
            index for index in self.frames if not isinstance(self.there[index].value, WorkerCrashedError)
        ]
        constants = loads(dumps(self.constants))
        copy = copied(plain)
        copies = self._copies(wanted)
        around = Surroundings(copy, constants, globals_of(plain))

        def outcome(index: int) -> _Outcome:
            return _Outcome(*observe(copy, copies[index], self.frames[index], constants, around))

        way = of(options)
        for index in wanted:
            call, close = (outcome, None) if way is None else way.here(outcome, index)
            try:
                self.here[index] = call(index)
            finally:
                if close is not None:
                    close()

    def _copies(self, wanted: list[int]) -> dict[int, tuple[Any, ...]]:
        """Copies of the arguments, made together: items that are one object stay one, as for the loop."""
        try:
            together: dict[int, tuple[Any, ...]] = loads(
                dumps({index: self.items[index] for index in wanted})
            )
            return together
        except Exception:
            return {index: loads(self.frames[index]) for index in wanted}


class _Outcome(NamedTuple):
    failed: bool
    value: Any
    changes: list[Change]


def _received(future: Future[Any]) -> _Outcome:
    """What the probe tells of one task."""
    from manyhands.transport.errors import unpack

    try:
        failed, data, changes = future.result()
    except (KeyboardInterrupt, InitializerError, StaleGlobalError):
        raise
    except BaseException as error:
        return _Outcome(True, error, [])
    if failed:
        return _Outcome(True, unpack(data), changes)
    try:
        return _Outcome(False, loads(data), changes)
    except BaseException as error:
        error.add_note("the result came, but could not be unpickled here")
        return _Outcome(True, error, changes)


def _compare(index: int, here: _Outcome, there: _Outcome) -> Difference | None:
    if not here.failed and not there.failed:
        found = mismatch(here.value, there.value, "result")
        return None if found is None else Difference(index, "value", *found)
    if here.failed and there.failed and type(here.value) is type(there.value):
        found = mismatch(here.value.args, there.value.args, "exception.args")
        return None if found is None else Difference(index, "exception", *found)
    shown = [
        _raises(side.value) if side.failed else f"returns {safe_repr(side.value)}" for side in (here, there)
    ]
    return Difference(index, "exception", "the outcome", *shown)


def _changes(index: int, here: list[Change], there: list[Change], told: set[str]) -> Iterator[Difference]:
    """What a task changed: here it stays changed, a worker's change never comes to the caller."""
    for change in here:
        if change.root.startswith("args[") or change.root not in told:
            told.add(change.root)
            yield Difference(
                index, change.kind, change.place + AFTERWARDS, change.after, f"still {change.before}"
            )
    known = {change.root for change in here} | told
    for change in there:
        if change.root not in known:
            if not change.root.startswith("args["):
                told.add(change.root)
            after = f"{change.after} in the copy"
            yield Difference(index, change.kind, change.place + AFTERWARDS, change.before, after)


def _sorted(differences: Iterable[Difference]) -> list[Difference]:
    """In the order of the items; results that are all there, but at other items, are a matter of order."""
    found = sorted(differences, key=lambda difference: -1 if difference.item is None else difference.item)
    moved = [
        difference for difference in found if difference.kind == "value" and difference.place == "result"
    ]
    if len(moved) > 1 and sorted(each.here for each in moved) == sorted(each.there for each in moved):
        found = [each._replace(kind="order") if each in moved else each for each in found]
    return found


def _raises(error: BaseException) -> str:
    return f"raises {type(error).__qualname__}: {_first_line(error)}".removesuffix(": ")


def _first_line(error: BaseException) -> str:
    try:
        text = str(error).partition("\n")[0]
    except Exception:
        text = safe_repr(error)
    return text if len(text) < WIDTH else f"{text[: WIDTH - 3]}..."


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
