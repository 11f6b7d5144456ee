"""Large things: arrays as arguments and results, files mapped into memory, a constant that every task needs."""

import pickle
import tempfile
import time
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

state: dict[str, Any] = {}


def spectrum(recording: dict[str, Any]) -> dict[str, Any]:
    """Return the strength of each frequency."""
    return {**recording, "strength": np.abs(np.fft.rfft(recording["samples"]))}


def scale(begin: int, *, source: Path, target: Path) -> float:
    """Bring some rows of a file to at most 1, and write them to the same place of another file."""
    rows = np.load(source, mmap_mode="r")[begin : begin + 500]
    np.load(target, mmap_mode="r+")[begin : begin + 500] = rows / rows.max(axis=1, keepdims=True)
    return float(rows.max())


def set_up(catalogue: Any) -> None:
    """In each worker: keep the catalogue. As an argument of each task it would be copied 32 times."""
    state["catalogue"] = catalogue


def places(queries: Any) -> Any:
    """Return where in the catalogue, which is sorted, each query belongs."""
    return np.searchsorted(state["catalogue"], queries)


def main() -> None:
    random = np.random.default_rng(1)
    recordings = [{"number": n, "samples": random.random(250_000)} for n in range(8)]
    with Pool(2) as pool, tempfile.TemporaryDirectory() as folder:
        # Pickled, written to a pipe 64 KB at a time, read and unpickled, on the way in and on the way out.
        spectra = pool.map(spectrum, recordings)
        print("loudest:", [int(each["strength"][1:].argmax()) for each in spectra[:3]])
        print("from", recordings[0]["samples"].nbytes, "bytes each, to", spectra[0]["strength"].nbytes)

        # A file that is mapped into memory: send its path, or all that is in it is read and sent.
        source, target = Path(folder, "source.npy"), Path(folder, "target.npy")
        np.save(source, random.random((4_000, 500)))
        readings = np.load(source, mmap_mode="r")
        pickled = len(pickle.dumps(readings))
        print(f"in the file: {readings.nbytes} bytes; pickled, as many: {pickled > readings.nbytes}")
        scaled = np.lib.format.open_memmap(target, "w+", readings.dtype, readings.shape)
        highest = pool.map(partial(scale, source=source, target=target), range(0, 4_000, 500))
        print("highest:", max(highest) == readings.max(), "scaled:", bool((scaled.max(axis=1) == 1).all()))
        del readings, scaled  # Windows removes no file that is mapped

    catalogue = np.cumsum(random.random(12_500_000))  # 100 MB
    queries = catalogue[-1] * random.random((32, 2_500))
    # A catalogue has to be there before the pool is; another one is another pool, and so is one that has changed. Where
    # workers are forked they have it at once; where they are not, it is pickled for each, and each has a copy of its own.
    for calls in (("first", "second"), ("changed",)):
        if calls == ("changed",):
            catalogue *= 2
        with Pool(2, set_up, (catalogue,)) as pool:
            for call in calls:
                begin = time.perf_counter()
                found = pool.map(places, queries)
                print(f"measured: {call} call, {time.perf_counter() - begin:.3f} s")
                print(
                    f"{call}:", np.array_equal(found, [np.searchsorted(catalogue, some) for some in queries])
                )


if __name__ == "__main__":
    main()
