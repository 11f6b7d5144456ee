"""What an object that stands for a function takes over of it: its names, and what describes it.

As ``functools.update_wrapper``, which costs an import and notes ``__wrapped__`` where we have a meaning of our own for it.
Used by ``decorated`` and ``shared.state``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__type_params__")


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
            setattr(wrapper, name, getattr(function, name))
        except AttributeError:
            pass
