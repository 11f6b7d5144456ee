"""Fields that are an object which all processes share: a number, an array, a lock, something managed.

The process that makes the state makes the objects; they travel with the handle, and can travel alone.
"""

from __future__ import annotations

from manyhands.exceptions import SharedStateError
from manyhands.shared.identity import Field, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Shared(Field):
    """A field that is a shared object.

    Args:
        make: makes the object.
        arguments: of ``make``.
        assign: takes an object and what is assigned to the field; None: nothing can be.
        begin: takes an object and puts it back as it was made; None: it stays as it is.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        arguments: tuple[Any, ...] = (),
        assign: Callable[[Any, Any], object] | None = None,
        begin: Callable[[Any], object] | None = None,
    ) -> None:
        self.make = make
        self.arguments = arguments
        self.assign = assign
        self.begin = begin

    def create(self, record: Record) -> None:
        try:
            record.values[self.name] = self.make(*self.arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise SharedStateError(f"{self}: {error}") from error

    def reset(self, record: Record) -> None:
        if self.begin is not None:
            self.begin(self._object(record))

    def __get__(self, handle: Any, owner: Any = None) -> Any:
        return self if handle is None else self._object(handle._record)

    def __set__(self, handle: Any, value: Any) -> None:
        found = self._object(handle._record)
        if value is found:  # which is what += ends with
            return
        if self.assign is None:
            raise SharedStateError(
                f"{self} cannot be assigned: what is set here would stay in this process. Use the methods of the "
                f"{type(found).__name__} that it is"
            )
        try:
            self.assign(found, value)
        except (TypeError, ValueError) as error:
            raise SharedStateError(f"{self} cannot hold {value!r:.60}: {error}") from error

    def _object(self, record: Record) -> Any:
        try:
            return record.values[self.name]
        except KeyError:
            raise SharedStateError(
                f"{self} is not known here: this process has imported the module that makes the state, and was not given the "
                f"state. Pass it to the function, as an argument or by @shared_state(name=...), or have the function itself read "
                "it as a global"
            ) from None
