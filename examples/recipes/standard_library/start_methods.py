"""The same function in workers of each start method. Without its guard, it would begin again in those that are spawned."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

factor = 10


def set_up(value: int) -> None:
    """Give a worker what the main part has set: a spawned worker has only what importing this file sets."""
    global factor
    factor = value


def scaled(number: int, caller: int) -> tuple[int, bool, int]:
    """Return a result, whether another process made it, and how many modules are loaded there."""
    return number * factor, os.getpid() != caller, len(sys.modules)


def main() -> None:
    set_up(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context, initializer=set_up, initargs=(factor,)) as pool:
            result, elsewhere, modules = pool.submit(scaled, 7, os.getpid()).result()
        print(f"{method}: {result}, in another process: {elsewhere}")
        print(f"measured: {modules} modules are loaded in a worker of {method}, {len(sys.modules)} here")


if __name__ == "__main__":
    multiprocessing.freeze_support()  # a frozen program is started again for each spawned worker
    main()
