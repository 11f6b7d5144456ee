"""Some tasks fail: see which one and why, collect all failures, skip them, try them again."""

import sysconfig
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path


def letters(path: Path, encoding: str = "ascii") -> int:
    """Return how many characters a file has; raises UnicodeDecodeError where it is not what it was said to be."""
    return len(path.read_text(encoding=encoding))


def main() -> None:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-h]*.py"))
    with ProcessPoolExecutor() as pool:
        # The exception, and not a word about the item: which of the files was it?
        try:
            list(pool.map(letters, paths))
        except UnicodeDecodeError as error:
            print(f"{type(error).__name__}: {error.reason} at position {error.start}")

        # So everybody keeps a dictionary from futures to items.
        futures = {pool.submit(letters, path): path for path in paths}
        outcomes: dict[Path, int | BaseException] = {}
        for future in as_completed(futures):
            try:
                outcomes[futures[future]] = future.result()
            except UnicodeDecodeError as error:
                outcomes[futures[future]] = error
        failed = [path for path in paths if isinstance(outcomes[path], BaseException)]
        print(f"{len(failed)} of {len(paths)} files are not ASCII: {', '.join(path.name for path in failed)}")

        sizes = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
        print(f"{sum(sizes)} characters in the others")

        for encoding in ("utf-16", "utf-8"):
            futures = {pool.submit(letters, path, encoding): path for path in failed}
            failed = [path for future, path in futures.items() if future.exception() is not None]
            print(f"{encoding}: {len(failed)} files left")


if __name__ == "__main__":
    main()
