"""The same function in workers of each start method. This file has no __main__ guard and needs none."""

import os
import sys

from manyhands import parallel_map

caller = os.getpid()
factor = int(sys.argv[1]) if len(sys.argv) > 1 else 10  # set while the script runs


@parallel_map
def scaled(number: int) -> tuple[int, bool, int]:
    """Return a result, whether another process made it, and how many modules are loaded there."""
    return number * factor, os.getpid() != caller, len(sys.modules)


# "template" is the default wherever there is a fork; where there is none, every worker is spawned.
for method in ("template", "spawn", "fork"):
    result, elsewhere, modules = scaled.options(start_method=method).submit(7).result()
    print(f"{method}: {result}, in another process: {elsewhere}")
    print(f"measured: {modules} modules are loaded in a worker of {method}, {len(sys.modules)} here")
