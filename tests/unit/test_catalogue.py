"""Every row of the catalogue of faults is held by a test, with every start method."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.pool.catalogue import ROWS

POOL = Path(__file__).parents[1] / "pool"
#: A test that has one of these arguments runs with every start method, or says in its decorator with which.
EVERY = {"method", "any_pool"}
#: A test that has pools of all start methods side by side.
TOGETHER = {"test_pools_of_every_start_method_that_were_idle_are_usable"}


@functools.cache
def functions_of(name: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((POOL / name).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_held_by_a_test_with_every_start_method(row: str) -> None:
    file, _, name = ROWS[row].partition("::")
    test = functions_of(file)[name]
    assert name in TOGETHER or EVERY & {argument.arg for argument in test.args.args}
    for decorator in test.decorator_list:
        text = ast.unparse(decorator)
        assert "method" not in text.split("(", 1)[-1].split(",")[0] or "METHODS" in text, text
        assert "xfail" not in text, "the row is known not to hold"


def test_what_a_test_says_about_its_row_is_in_the_catalogue() -> None:
    said = {}
    for file in sorted(POOL.glob("test_*.py")):
        for name, test in functions_of(file.name).items():
            for row in re.findall(r"^row: (\w+)\.$", ast.get_docstring(test) or "", re.MULTILINE):
                said[row] = f"{file.name}::{name}"
    assert said == {row: ROWS.get(row) for row in said}
    assert len(said) > 30


def test_there_are_all_the_rows() -> None:
    assert len(ROWS) >= ROWS_AT_LEAST


#: None may be lost; who adds one adds it to the catalogue.
ROWS_AT_LEAST = 132
