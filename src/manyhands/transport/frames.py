"""Several byte strings as one body: how many there are, where each of them ends, then all of them."""

from __future__ import annotations

import sys
from _struct import pack
from itertools import accumulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def join(frames: Sequence[bytes]) -> list[bytes]:
    """Return the parts of a body that holds the frames.

    Example:
        >>> [len(part) for part in join([b"one", b"three"])]
        [24, 3, 5]
    """
    return [pack(f"{len(frames) + 1}Q", len(frames), *accumulate(map(len, frames))), *frames]


def each(body: memoryview) -> list[memoryview]:
    """Return the frames of a body.

    Example:
        >>> [bytes(frame) for frame in each(memoryview(b"".join(join([b"one", b"three"]))))]
        [b'one', b'three']
    """
    ends, data = split(body)
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def split(body: memoryview) -> tuple[list[int], memoryview]:
    """Return where each frame of a body ends, and the bytes in which it does.

    Example:
        >>> ends, data = split(memoryview(b"".join(join([b"one", b"three"]))))
        >>> ends, bytes(data[ends[0] : ends[1]])
        ([3, 8], b'three')
    """
    start = 8 * (int.from_bytes(body[:8], sys.byteorder) + 1)
    return body[8:start].cast("Q").tolist(), body[start:]
