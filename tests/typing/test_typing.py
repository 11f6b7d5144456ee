"""Type checkers agree with ``inferred.py`` and with ``rejected.py``, line by line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=HERE.parents[1],
    )


@cache
def works(tool: str) -> bool:
    """Whether a checker is installed and starts; pyright may lack its JavaScript engine."""
    return importlib.util.find_spec(tool) is not None and run(tool, "--version").returncode == 0


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> str:
    tool: str = request.param
    if not works(tool):
        pytest.skip(f"{tool} is not installed")
    return tool


def verdict(checker: str, *paths: Path) -> str:
    """Return what a checker has to say against files; nothing if it has nothing. Its start takes most of the time."""
    if checker == "mypy":
        result = run("mypy", "--strict", "--no-error-summary", "--hide-error-context", *map(str, paths))
    else:
        result = run("pyright", "--pythonpath", sys.executable, *map(str, paths))
    return result.stdout + result.stderr if result.returncode else ""


def test_the_checkers_agree(checker: str) -> None:
    assert verdict(checker, HERE / "inferred.py", HERE / "rejected.py", HERE / "sharing.py") == ""


def test_a_wrong_claim_about_an_inferred_type_and_a_lost_rejection_would_be_found(
    checker: str, tmp_path: Path
) -> None:
    inferred = (HERE / "inferred.py").read_text(encoding="utf-8")
    claim = "assert_type(half.map([1, 2]), list[float])"
    assert claim in inferred
    wrong = tmp_path / "wrong.py"
    wrong.write_text(inferred.replace(claim, claim.replace("float", "int")), encoding="utf-8")
    rejected = (HERE / "rejected.py").read_text(encoding="utf-8")
    mistake = "half.map(words)"
    lost = tmp_path / "lost.py"
    lost.write_text(rejected.replace(mistake, "half.map(numbers)"), encoding="utf-8")
    said = verdict(checker, wrong, lost)
    assert f"wrong.py:{line_of(inferred, claim)}:" in said
    assert f"lost.py:{line_of(rejected, mistake)}:" in said


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1
