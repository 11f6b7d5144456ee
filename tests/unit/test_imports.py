"""What importing may load: every program and every worker pays for it, whether it maps anything or not.

Each test runs in an interpreter of its own that has nothing on its path but the standard library and the
package. What counts is what comes on top of what a bare interpreter has loaded already.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import manyhands

#: What the package's import path may use, with whatever these modules load themselves.
ALLOWED = ("__future__", "_pickle", "importlib", "os", "typing")

#: What costs milliseconds: none of it may come before the first parallel call.
DEAR = frozenset(
    {
        "asyncio",
        "cloudpickle",
        "concurrent.futures",
        "ctypes",
        "dataclasses",
        "inspect",
        "logging",
        "multiprocessing",
        "numpy",
        "pickle",
        "selectors",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "traceback",
        "typing_extensions",
    }
)

#: Our own modules that only a parallel call needs.
LATER = (
    "manyhands.engine.pool",
    "manyhands.engine.worker",
    "manyhands.shared",
    "manyhands.transport.serialize",
    "manyhands.transport.channel",
)


def loaded_by(code: str) -> set[str]:
    """Return the names of the modules that ``code`` loads into a bare interpreter."""
    program = f"""
import site, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
{code}
after = set(sys.modules) - before
import json
print(json.dumps(sorted(after)))
"""
    # -I: no environment variables, no user's folder. -S: no .pth files, which may load anything.
    folder = Path(manyhands.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", program, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] != "manyhands"}


def test_importing_the_package_loads_only_what_is_on_the_list() -> None:
    allowed = loaded_by("import " + ", ".join(ALLOWED))
    loaded = loaded_by("import manyhands")
    assert "manyhands" in loaded
    assert foreign(loaded) - allowed == set()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import manyhands", id="import"),
        pytest.param("from manyhands import parallel_map", id="name"),
        pytest.param("from manyhands import parallel_map; parallel_map(abs)", id="decorate"),
        pytest.param("from manyhands import parallel_map; parallel_map(max_workers=2)(abs)", id="options"),
        pytest.param("from manyhands import parallel_map; assert parallel_map(abs)(-1) == 1", id="call"),
    ],
)
def test_nothing_dear_is_loaded_before_the_first_parallel_call(code: str) -> None:
    loaded = loaded_by(code)
    assert "manyhands" in loaded
    assert loaded & DEAR == set()
    assert {name for name in loaded if name.startswith(LATER)} == set()


def test_the_check_sees_what_is_loaded() -> None:
    assert "logging" in loaded_by("import logging")
