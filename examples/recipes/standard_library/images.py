"""A pipeline over an array of images, N x H x W x C: each is copied in, its edges and its histogram are copied out."""

import time
from multiprocessing import Pool
from typing import Any

import numpy as np
from skimage import data


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


def develop(image: Any) -> tuple[Any, Any]:
    """Return the edges of an image, and how many are how strong."""
    edges = edge_strength(image).astype("uint8")
    return edges, np.bincount(edges.ravel(), minlength=256)


def main() -> None:
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    stack = np.concatenate([crops(photo) for photo in photos])
    print("images:", stack.shape, stack.dtype)

    begin = time.perf_counter()
    with Pool(2) as pool:
        # Each image is pickled, written to a pipe, read and unpickled; and so are its edges on their way back.
        developed = pool.map(develop, stack)
    edges = np.stack([edges for edges, _ in developed])  # and copied once more, to be one array again
    histogram = sum(counts for _, counts in developed)
    print(f"measured: {time.perf_counter() - begin:.2f} s with two workers")
    print("edges:", edges.shape, "strongest image:", int(edges.sum(axis=(1, 2)).argmax()))
    print("flat, of 1000 pixels:", int(1000 * histogram[:4].sum() / histogram.sum()))

    loop = [develop(image) for image in stack]
    print("the same as the loop:", np.array_equal(edges, [edges for edges, _ in loop]))
    print("the histogram as well:", np.array_equal(histogram, sum(counts for _, counts in loop)))


if __name__ == "__main__":
    main()
