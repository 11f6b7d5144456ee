"""A run that is interrupted goes on where it was: finished results are kept in a file, and another function is refused."""

import os
import tempfile
from itertools import islice

from manyhands import CheckpointError, parallel_map


@parallel_map
def divisors(n: int) -> int:
    """Return how many numbers divide n."""
    return sum(n % d == 0 for d in range(1, n + 1))


numbers = range(5_000, 5_400)

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "divisors.db")
    kept = divisors.options(checkpoint=path)

    # The first run ends early: here because nobody wants more, elsewhere by Ctrl-C, a crash or a power failure.
    first = list(islice(kept.imap(numbers), 250))
    print(f"first run: {len(first)} results")

    # The same call again computes what is missing. `on_result` hears of what is computed, not of what was in the file.
    computed: list[int] = []
    results = kept.options(on_result=computed.append).map(numbers)
    print(f"second run: {len(results)} results, of which at least 250 were there: {len(computed) <= 150}")
    print(f"most divisors: {max(results)}")

    # Results are this function's, with these constants. Of another they would be wrong.
    try:
        parallel_map(abs, checkpoint=path).map(numbers)
    except CheckpointError as error:
        print(str(error).replace(path, "divisors.db"))
