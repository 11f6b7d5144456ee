"""What an object that stands for a function takes over of it: its names, and what describes it.

As ``functools.update_wrapper``, which costs an import and notes ``__wrapped__`` where we have a meaning of our own for it.
Used by ``decorated``, ``shared.state`` and ``scheduling.single``.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inspect import Parameter
    from typing import Any

ANNOTATIONS = "__annotations__"
NAMES = ("__module__", "__name__", "__qualname__", "__doc__", ANNOTATIONS, "__annotate__", "__type_params__")


def take_names(wrapper: Any, function: Any) -> None:
    """Give a wrapper those of the names that a function has.

    Args:
        wrapper: what stands for the function.
        function: the function.

    Example:
        >>> from types import SimpleNamespace
        >>> wrapper = SimpleNamespace()
        >>> take_names(wrapper, abs)
        >>> wrapper.__name__
        'abs'
    """
    for name in NAMES:
        try:
            setattr(wrapper, name, annotated(function) if name == ANNOTATIONS else getattr(function, name))
        except AttributeError:
            pass


def annotated(thing: Any) -> dict[str, Any]:
    """Return the annotations of a function or a class; what they name and is not there yet stays as it was written.

    Source: PEP 649, by which they are evaluated when they are asked for, and with which they may name what comes later.

    Args:
        thing: the function or class.

    Raises:
        AttributeError: it has none.
    """
    try:
        return thing.__annotations__  # type: ignore[no-any-return]
    except Exception:
        if not hasattr(thing, "__annotate__"):
            raise
        from annotationlib import Format, get_annotations  # type: ignore[import-not-found]

        return get_annotations(thing, format=Format.FORWARDREF)  # type: ignore[no-any-return]


def parameters(function: Any) -> dict[str, Parameter] | None:
    """Return the parameters of a function, by name; None where they cannot be known.

    Args:
        function: the function.

    Example:
        >>> list(parameters(lambda x, *, y=1: x))
        ['x', 'y']
    """
    from inspect import signature

    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # as above

        options["annotation_format"] = Format.FORWARDREF
    try:
        return dict(signature(function, **options).parameters)
    except (TypeError, ValueError):  # a builtin
        return None
