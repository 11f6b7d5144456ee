"""Large things: arrays as arguments and results, files mapped into memory, a constant that every task needs."""

import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from manyhands import parallel_map

random = np.random.default_rng(1)


# 1. Arguments and results: one copy in, one out, whatever they are packed in. Nothing to do.
@parallel_map(max_workers=2)
def spectrum(recording: dict[str, Any]) -> dict[str, Any]:
    """Return the strength of each frequency."""
    return {**recording, "strength": np.abs(np.fft.rfft(recording["samples"]))}


recordings = [{"number": n, "samples": random.random(250_000)} for n in range(8)]
spectra = spectrum.map(recordings)
print("loudest:", [int(each["strength"][1:].argmax()) for each in spectra[:3]])
print("from", recordings[0]["samples"].nbytes, "bytes each, to", spectra[0]["strength"].nbytes)


# 2. Files that are mapped into memory travel as files: tasks map them again, and what they write is there. Nothing to do.
@parallel_map(max_workers=2)
def scale(rows: Any, target: Any) -> float:
    """Bring some rows of a file to at most 1, and write them to the same place of another file."""
    target[:] = rows / rows.max(axis=1, keepdims=True)
    return float(rows.max())


with tempfile.TemporaryDirectory() as folder:
    source = Path(folder, "source.npy")
    np.save(source, random.random((4_000, 500)))
    readings = np.load(source, mmap_mode="r")
    pickled = len(pickle.dumps(readings))
    print(f"in the file: {readings.nbytes} bytes; pickled, as many: {pickled > readings.nbytes}")
    scaled = np.lib.format.open_memmap(Path(folder, "target.npy"), "w+", readings.dtype, readings.shape)
    parts = range(0, 4_000, 500)
    highest = scale.map([readings[n : n + 500] for n in parts], [scaled[n : n + 500] for n in parts])
    print("highest:", max(highest) == readings.max(), "scaled:", bool((scaled.max(axis=1) == 1).all()))
    del readings, scaled  # Windows removes no file that is mapped


# 3. A constant that every task needs: a keyword. It is written once, and all workers map the same memory.
@parallel_map(max_workers=2)
def places(queries: Any, *, catalogue: Any) -> Any:
    """Return where in the catalogue, which is sorted, each query belongs."""
    return np.searchsorted(catalogue, queries)


catalogue = np.cumsum(random.random(12_500_000))  # 100 MB
queries = catalogue[-1] * random.random((32, 2_500))
for call in ("first", "second", "changed"):
    if call == "changed":
        catalogue *= 2  # the next call sees it
    begin = time.perf_counter()
    found = places.map(queries, catalogue=catalogue)
    print(f"measured: {call} call, {time.perf_counter() - begin:.3f} s")
    print(f"{call}:", np.array_equal(found, [places(some, catalogue=catalogue) for some in queries]))
