"""What is done with large things in workers; a worker that looks one up does not load pytest."""

from __future__ import annotations

from typing import Any

import numpy as np


def describe(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Everything about a tree that another one can be compared by: types, contents, forms, and what is the same object."""
    seen = {} if seen is None else seen
    known = (
        seen.setdefault(id(value), len(seen))
        if isinstance(value, (list, dict, bytearray, np.ndarray))
        else None
    )
    if isinstance(value, (list, tuple)):
        return type(value), known, [describe(part, seen) for part in value]
    if isinstance(value, dict):
        return dict, known, [(key, describe(part, seen)) for key, part in value.items()]
    if isinstance(value, np.ma.MaskedArray):
        filled = value.filled().tobytes() if value.dtype.names is None else repr(value.shape)
        return type(value), known, value.dtype, value.shape, filled, np.ma.getmaskarray(value).tobytes()
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        order = value.flags.c_contiguous, value.flags.f_contiguous
        return type(value), known, value.dtype, value.shape, order, content
    return type(value), known, value


def read_only(value: Any) -> list[bool]:
    """Which of the arrays of a tree cannot be written to."""
    if isinstance(value, (list, tuple)):
        return [flag for part in value for flag in read_only(part)]
    if isinstance(value, dict):
        return [flag for part in value.values() for flag in read_only(part)]
    return [not value.flags.writeable] if isinstance(value, np.ndarray) else []


def same(value: Any) -> Any:
    return value


def summary(value: Any) -> Any:
    return describe(value), read_only(value)


def keyword(_: int, *, constant: Any) -> Any:
    return describe(constant), read_only(constant)


def with_scribbling(value: Any) -> Any:
    """Write into every array, and say what was there before."""
    before = describe(value)
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, np.ndarray) and part.flags.writeable and part.dtype.kind in "iuf":
            part[...] = 0
    return before
