"""What a failing task looks like to the caller: the exception itself with a note, or a ``Failure`` in a list of results."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

#: A note shows so many characters of each argument: enough for a path.
LONGEST = 120


class Failure:
    """What is known of a task that failed for good; stands in its place where failures are collected.

    Args:
        index: the task's place in the input.
        item: its item.
        exception: what it raised, or what ended it.
        attempts: how many times it was tried.

    Example:
        >>> failure = Failure(3, "no number", ValueError("invalid literal"))
        >>> failure
        <Failure of item 3: ValueError('invalid literal')>
    """

    __slots__ = ("attempts", "exception", "index", "item")

    def __init__(self, index: int, item: Any, exception: BaseException, attempts: int = 1) -> None:
        self.index = index
        self.item = item
        self.exception = exception
        self.attempts = attempts

    @property
    def traceback(self) -> str:
        """The traceback as text, the worker's included.

        Example:
            >>> print(Failure(0, None, ValueError("no")).traceback)
            ValueError: no
        """
        import traceback

        return "".join(traceback.format_exception(self.exception)).rstrip()

    def __repr__(self) -> str:
        from manyhands.transport.refusal import safe_repr

        times = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        return f"<Failure of item {self.index}{times}: {safe_repr(self.exception, LONGEST)}>"


if TYPE_CHECKING:

    class _Results(list[T | Failure]):
        """A list of results and failures."""

else:  # loading typing costs more than the rest of the package
    T = None
    _Results = {T: list}


class Collected(_Results[T]):
    """The results of a call that collects its failures: a list in which failed items hold a ``Failure``.

    Args:
        iterable: results and failures, in input order.

    Example:
        >>> from manyhands import parallel_map
        >>> results = parallel_map(int, on_error="collect").map(["1", "two", "3"])
        >>> results
        [1, <Failure of item 1: ValueError("invalid literal for int() with base 10: 'two'")>, 3]
        >>> results.values
        [1, 3]
        >>> [failure.item for failure in results.errors]
        ['two']
    """

    @property
    def errors(self) -> list[Failure]:
        """The failures, in input order.

        Example:
            >>> Collected([1, Failure(1, "two", ValueError())]).errors
            [<Failure of item 1: ValueError()>]
        """
        return [entry for entry in self if isinstance(entry, Failure)]

    @property
    def values(self) -> list[T]:
        """The results of the items that did not fail, in input order.

        Example:
            >>> Collected([1, Failure(1, "two", ValueError())]).values
            [1]
        """
        return [entry for entry in self if not isinstance(entry, Failure)]

    def raise_all(self) -> None:
        """Raise the exceptions of all failures together, if there are any.

        Raises:
            BaseExceptionGroup: of the exceptions in input order; an ``ExceptionGroup`` where they are all ``Exception``.

        Example:
            >>> Collected([1, 2]).raise_all()
        """
        errors = self.errors
        if errors:
            raise BaseExceptionGroup(
                f"{len(errors)} of {len(self)} items failed", [failure.exception for failure in errors]
            )


def note(
    error: BaseException, index: int | None, name: str, item: Any, shape: int, where: str
) -> BaseException:
    """Add to an exception which task raised it; returns the exception.

    Args:
        error: the exception.
        index: the task's index in the input; None: it was a single call.
        name: the function's name.
        item: the task's item.
        shape: how the item becomes arguments (0: one argument, 1: a tuple of them, 2: a pair of tuple and dict).
        where: the worker, in words.
    """
    from manyhands.transport.errors import add_note
    from manyhands.transport.refusal import safe_repr

    if shape == 0:
        words = [safe_repr(item, LONGEST)]
    elif shape == 1:
        try:
            words = [safe_repr(part, LONGEST) for part in item]
        except Exception:  # that is what is wrong with it
            words = ["*" + safe_repr(item, LONGEST)]
    else:
        words = [safe_repr(part, LONGEST) for part in item[0]] + [
            f"{key}={safe_repr(part, LONGEST)}" for key, part in item[1].items()
        ]
    task = "" if index is None else f"item {index}: "
    add_note(error, f"manyhands: {task}{name}({', '.join(words)}), {where}")
    return error
