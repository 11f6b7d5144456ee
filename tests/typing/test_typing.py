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


def verdict(checker: str, path: Path) -> str:
    """Return what a checker has to say against a file; nothing if it has nothing."""
    if checker == "mypy":
        result = run("mypy", "--strict", "--no-error-summary", "--hide-error-context", str(path))
    else:
        result = run("pyright", "--pythonpath", sys.executable, str(path))
    return result.stdout + result.stderr if result.returncode else ""


@pytest.mark.parametrize("name", ["inferred.py", "rejected.py", "sharing.py"])
def test_the_checkers_agree(checker: str, name: str) -> None:
    assert verdict(checker, HERE / name) == ""


def test_a_wrong_claim_about_an_inferred_type_would_be_found(checker: str, tmp_path: Path) -> None:
    right = "assert_type(half.map([1, 2]), list[float])"
    text = (HERE / "inferred.py").read_text(encoding="utf-8")
    assert right in text
    wrong = tmp_path / "wrong.py"
    wrong.write_text(text.replace(right, right.replace("float", "int")), encoding="utf-8")
    assert f"wrong.py:{line_of(text, right)}:" in verdict(checker, wrong)


def test_a_lost_rejection_would_be_found(checker: str, tmp_path: Path) -> None:
    wrong = "half.map(words)"
    text = (HERE / "rejected.py").read_text(encoding="utf-8")
    lost = tmp_path / "lost.py"
    lost.write_text(text.replace(wrong, "half.map(numbers)"), encoding="utf-8")
    assert f"lost.py:{line_of(text, wrong)}:" in verdict(checker, lost)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1
