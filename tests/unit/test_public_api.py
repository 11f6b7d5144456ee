"""What the package promises: its names exist, say what they do, show it, and are in the documentation."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import manyhands

ROOT = Path(__file__).parents[2]
NAMES = sorted(name for name in manyhands.__all__ if not name.startswith("_"))


def members() -> list[tuple[str, Any]]:
    """The public names, and the public methods and properties that our classes themselves define."""
    found: list[tuple[str, Any]] = []
    for name in NAMES:
        value = getattr(manyhands, name)
        found.append((name, value))
        if isinstance(value, type):
            found += [
                (f"{name}.{attribute}", member)
                for attribute, member in vars(value).items()
                if not attribute.startswith("_")
                and (inspect.isfunction(member) or isinstance(member, property))
            ]
    return found


MEMBERS = members()


def test_every_name_that_is_promised_is_there() -> None:
    assert {"parallel_map", "ProcessPool", "Options", "configure", "cpu_count"} <= set(NAMES)
    for name in manyhands.__all__:
        assert getattr(manyhands, name) is not None
    assert dir(manyhands) == sorted(manyhands.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = manyhands.nothing_of_the_kind


def test_star_import_gives_exactly_the_promised_names() -> None:
    program = "from manyhands import *; print(*sorted(set(dir()) - {'__builtins__'}))"
    before = {"__annotations__", "__doc__", "__loader__", "__name__", "__package__", "__spec__"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(run.stdout.split()) - before == set(manyhands.__all__)


@pytest.mark.parametrize(("name", "value"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_every_public_name_says_what_it_is_for_and_shows_it(name: str, value: Any) -> None:
    text = inspect.getdoc(value)
    assert text, f"{name} has no docstring"
    first = re.split(r"\n\s*\n", text)[0]
    assert first.rstrip().endswith((".", ":")), f"the docstring of {name} does not begin with a sentence"
    assert ">>> " in text, f"the docstring of {name} has no example"


@pytest.mark.parametrize(("name", "value"), MEMBERS, ids=[name for name, _ in MEMBERS])
def test_every_parameter_is_explained(name: str, value: Any) -> None:
    if isinstance(value, property) or (isinstance(value, type) and issubclass(value, BaseException)):
        return
    text = inspect.getdoc(value) or ""
    explained = set(re.findall(r"^\s+(\*{0,2}\w+): ", text, re.MULTILINE))
    for parameter in inspect.signature(value).parameters.values():
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(
            parameter.kind, ""
        )
        if parameter.name == "self" or parameter.name.startswith("_"):
            continue
        wanted = stars + parameter.name
        # A class that takes keywords explains each of them by its own name.
        assert wanted in explained or (isinstance(value, type) and stars == "**"), (
            f"{name} does not explain {wanted}"
        )


def reference() -> str:
    """The text of the reference part of the documentation; nothing while there is none."""
    docs = ROOT / "docs"
    files = [*docs.glob("reference*.md"), *docs.glob("reference/**/*.md")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.skipif(not reference(), reason="there is no reference here")
def test_every_public_name_is_in_the_reference() -> None:
    text = reference()
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.skipif(not reference(), reason="there is no reference here")
def test_what_the_reference_documents_is_there() -> None:
    documented = re.findall(r"auto(?:class|function|exception|data)(?:::|\}) *([\w.]+)", reference())
    for name in documented:
        value: Any = manyhands
        if name.startswith("manyhands.shared."):  # whose modules are loaded when something in them is used
            importlib.import_module(name.rpartition(".")[0])
        for part in name.removeprefix("manyhands.").split("."):
            try:
                value = getattr(value, part)
            except AttributeError:
                pytest.fail(f"docs/reference documents {name}, which is not there")
