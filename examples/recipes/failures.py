"""Some tasks fail: see which one and why, collect all failures, skip them, try them again."""

import sys
import sysconfig
import traceback
from concurrent.futures import as_completed
from pathlib import Path

from manyhands import parallel_map


@parallel_map
def letters(path: Path, *, encoding: str = "ascii") -> int:
    """Return how many characters a file has; raises UnicodeDecodeError where it is not what it was said to be."""
    return len(path.read_text(encoding=encoding))


paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-h]*.py"))

# As in the loop: the exception of the first item that fails, as its own type. Its note says which item that was, its
# cause is the traceback of the worker.
try:
    letters.map(paths)
except UnicodeDecodeError as error:
    print(f"{type(error).__name__}: {error.reason} at position {error.start}")
    print("\n".join(error.__notes__))
    if "-v" in sys.argv:
        traceback.print_exc()


# Results and exceptions side by side: a function that returns its exception instead of raising it.
@parallel_map
def attempt(path: Path, encoding: str = "ascii") -> int | UnicodeError:
    """Return how many characters a file has, or why nobody can say."""
    try:
        return letters(path, encoding=encoding)
    except UnicodeError as error:
        return error


outcomes = dict(zip(paths, attempt.map(paths), strict=True))
failed = [path for path, outcome in outcomes.items() if isinstance(outcome, UnicodeError)]
print(f"{len(failed)} of {len(paths)} files are not ASCII: {', '.join(path.name for path in failed)}")

# Leave them out.
sizes = [outcome for outcome in outcomes.values() if not isinstance(outcome, UnicodeError)]
print(f"{sum(sizes)} characters in the others")

# Try them again, in another way, until nothing is left or nothing more comes to mind.
for encoding in ("utf-16", "utf-8"):
    outcomes.update(zip(failed, attempt.map(failed, encoding=encoding), strict=True))
    failed = [path for path in failed if isinstance(outcomes[path], UnicodeError)]
    print(f"{encoding}: {len(failed)} files left")

# One future for each task: nothing is raised before it is asked for, and each failure is handled when it comes.
futures = {letters.submit(path): path for path in paths[-20:]}
errors = [futures[future] for future in as_completed(futures) if future.exception() is not None]
print(f"futures: {len(errors)} of {len(futures)} have failed")

# imap gives the results before the failing item, then its exception.
done = 0
try:
    for _ in letters.imap(paths):
        done += 1
except UnicodeDecodeError:
    print(f"imap: {done} results, then the exception")
