"""Some tasks fail: see which one and why, collect all failures, skip them, replace them, try them again."""

import sys
import sysconfig
import tempfile
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


# Results and failures side by side: every task runs, and a Failure stands where there is no result.
collecting = letters.options(on_error="collect")
results = collecting.map(paths)
failed = [failure.item for failure in results.errors]
print(f"{len(failed)} of {len(results)} files are not ASCII: {', '.join(path.name for path in failed)}")
print(f"{sum(results.values)} characters in the others")
try:
    results.raise_all()
except* UnicodeDecodeError as group:
    print(f"all of them together: {len(group.exceptions)}")

# Leave them out.
print(f"skipped: {len(paths) - len(letters.options(on_error='skip').map(paths))}")

# Put something else in their place: here what another encoding says. The function runs in this process.
mended = letters.options(on_error=lambda failure: letters(failure.item, encoding="utf-8")).map(paths)
print(f"mended: {len(mended) == len(paths)}, {sum(mended) > sum(results.values)}")

# Try them again, in another way, until nothing is left or nothing more comes to mind.
for encoding in ("utf-16", "utf-8"):
    failed = [failure.item for failure in collecting.map(failed, encoding=encoding).errors]
    print(f"{encoding}: {len(failed)} files left")


# Try them again in the same way: for what fails by chance, such as a network.
@parallel_map(retries=2, retry_on=ConnectionError, backoff=0.01)
def ask(path: Path) -> str:
    """Fail the first time."""
    if path.exists():
        return "an answer"
    path.touch()
    raise ConnectionError("no answer")


with tempfile.TemporaryDirectory() as folder:
    print("retried:", ask.map([Path(folder, "one"), Path(folder, "two")]))

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
