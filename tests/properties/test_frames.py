"""Frames of pandas and polars, and Arrow tables, come out as they went in: arguments, results, constants, closures."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.conftest import Program


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_come_out_equal(library: str, run_program: Program) -> None:
    for name in (library, "numpy"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    examples = 12 * int(os.environ.get("MANYHANDS_EXAMPLES", "1"))
    source = Path(__file__).with_name("frames.py").read_text(encoding="utf-8")
    ran = run_program(source, args=(library, str(examples)), timeout=110.0)
    assert ran.err == ""
    assert (ran.code, ran.out) == (0, "equal\n")
