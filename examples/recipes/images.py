"""A pipeline over an array of images, N x H x W x C: no copies in, edges of each, and one histogram of all at the end."""

import time
from typing import Any

import numpy as np
from skimage import data

from manyhands import accumulator, parallel_map, share, shared_state
from manyhands.shared import Array


def crops(photo: Any, size: int = 224, step: int = 32) -> Any:
    """Overlapping squares of a photo."""
    windows = np.lib.stride_tricks.sliding_window_view(photo, (size, size, 3))
    return windows[::step, ::step, 0].reshape(-1, size, size, 3)


def edge_strength(image: Any) -> Any:
    """Grey, blurred three times, and how much it changes from here to there."""
    grey = image.astype("float32") @ np.array([0.2125, 0.7154, 0.0721], "float32")
    for axis in (0, 1, 0, 1, 0, 1):
        grey = sum(np.roll(grey, shift, axis) for shift in (-2, -1, 0, 1, 2)) / np.float32(5)
    return np.hypot(*np.gradient(grey)).clip(0, 255)


photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
stack = np.concatenate([crops(photo) for photo in photos])
print("images:", stack.shape, stack.dtype)


@shared_state
class Totals:
    histogram: Any = accumulator(np.zeros(256, "int64"))


@parallel_map(max_workers=2)
@shared_state(totals=Totals)
def develop(image: Any, edges: Any, *, totals: Totals) -> None:
    """Write the edges of an image where they belong, and count how strong they are."""
    edges[:] = edge_strength(image)
    totals.histogram += np.bincount(edges.ravel(), minlength=256)


# Images and edges live in shared memory: what travels with a task is two addresses, and nothing comes back.
images, edges = share(stack), Array("uint8", stack.shape[:3])
begin = time.perf_counter()
develop.map(images, edges)
print(f"measured: {time.perf_counter() - begin:.2f} s with two workers, in place")
histogram = develop.state.totals.histogram
print("edges:", edges.shape, "strongest image:", int(edges.sum(axis=(1, 2)).argmax()))
print("flat, of 1000 pixels:", int(1000 * histogram[:4].sum() / histogram.sum()))


# Without shared arrays there is nothing to prepare: each image is copied once, on its way to a worker.
@parallel_map(max_workers=2)
def developed(image: Any) -> Any:
    return edge_strength(image).astype("uint8")


begin = time.perf_counter()
results = developed.map(stack)
print(f"measured: {time.perf_counter() - begin:.2f} s with two workers, as arguments and results")

begin = time.perf_counter()
loop = [developed(image) for image in stack]
print(f"measured: {time.perf_counter() - begin:.2f} s with a loop")
print("the same as the loop:", np.array_equal(edges, loop) and np.array_equal(results, loop))
print("the histogram as well:", np.array_equal(histogram, np.bincount(np.ravel(loop), minlength=256)))
