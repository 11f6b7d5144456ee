"""Every example in a docstring of the package runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import manyhands

MODULES = ["manyhands", *(found.name for found in pkgutil.walk_packages(manyhands.__path__, "manyhands."))]


@pytest.fixture(autouse=True)
def shut_down() -> Iterator[None]:
    yield
    manyhands.shutdown()
    from manyhands.backends import threads

    threads.shutdown()


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings_are_right(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_examples_are_found() -> None:
    found = doctest.DocTestFinder().find(importlib.import_module("manyhands.functions"))
    assert sum(len(test.examples) for test in found) > 10
