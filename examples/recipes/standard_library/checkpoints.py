"""A run that is interrupted goes on where it was: results are kept in a database by hand, and so are the indexes."""

import os
import pickle
import sqlite3
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed


def divisors(n: int) -> int:
    """Return how many numbers divide n."""
    return sum(n % d == 0 for d in range(1, n + 1))


def run(path: str, numbers: range, limit: int) -> tuple[list[int], int]:
    """Compute what is missing, up to so many results; return the results and how many were there."""
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE IF NOT EXISTS results (item INTEGER PRIMARY KEY, result BLOB)")
    found = {item: pickle.loads(result) for item, result in file.execute("SELECT * FROM results")}
    there = len(found)
    missing = [place for place in range(len(numbers)) if place not in found][: limit - there]
    with ProcessPoolExecutor() as executor:
        futures = {executor.submit(divisors, numbers[place]): place for place in missing}
        for future in as_completed(futures):
            place = futures[future]
            found[place] = future.result()
            with file:
                file.execute("INSERT INTO results VALUES (?, ?)", (place, pickle.dumps(found[place])))
    file.close()
    return [found[place] for place in sorted(found)], there


if __name__ == "__main__":
    numbers = range(5_000, 5_400)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "divisors.db")
        first, _ = run(path, numbers, 250)
        print(f"first run: {len(first)} results")
        results, there = run(path, numbers, len(numbers))
        print(f"second run: {len(results)} results, of which at least 250 were there: {there >= 250}")
        print(f"most divisors: {max(results)}")
        # Nothing here would notice that the function, or an item, is another than in the first run.
