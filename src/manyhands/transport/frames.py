"""Several byte strings as one body: where each of them ends, then all of them."""

from __future__ import annotations

from _struct import pack
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def join(frames: Sequence[bytes]) -> list[bytes]:
    """Return the parts of a body that holds the frames.

    Example:
        >>> [len(part) for part in join([b"one", b"three"])]
        [16, 3, 5]
    """
    return [pack(f"{len(frames)}Q", *accumulate(map(len, frames))), *frames]
