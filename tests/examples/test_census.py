"""The main example, run as a user runs it, on a folder whose numbers are known and on real packages."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CENSUS = Path(__file__).parents[2] / "examples" / "census.py"

SHAPES = '''\
"""A docstring
of two lines."""

# a comment on its own


def plain():  # a comment behind code
    return 1


class Box:
    def method(self, x):
        def inner(y):
            return y if y else x

        return [i for i in x if i and inner(i)]


async def branches(x):
    if x == 1:
        pass
    elif x == 2:
        pass
    for _ in x:
        while True:
            break
    try:
        pass
    except ValueError:
        pass
    match x:
        case 1 | 2:
            pass
        case [a] if a:
            pass
        case _:
            pass
    return lambda: 1 if x or not x else 2
'''

#: The files of a package that no parser takes, and what the census must say about each.
BROKEN = {
    "syntax.py": (b"x = 1\ndef f(:\n    pass\n", "SyntaxError in line 2"),
    "indent.py": (b"if 1:\nx = 2\n", "IndentationError in line 2"),
    "encoding.py": (b"# coding: utf-8\nx = '\xff'\n", "SyntaxError"),
    "unknown_encoding.py": (b"# coding: klingon\n", "SyntaxError"),
    "null.py": (b"x = 1\0\n", "null bytes"),
    "deep.py": (b"(" * 5000 + b")" * 5000 + b"\n", "too many nested parentheses"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two packages: one of which every number is known, one that is broken in every way."""
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "shapes.py").write_text(SHAPES, encoding="utf-8")
    (tmp_path / "known" / "empty.py").write_bytes(b"")
    (tmp_path / "known" / "escape.py").write_bytes(b"x = '\\d' if 1is 1 else 0")
    (tmp_path / "broken").mkdir()
    for name, (source, _) in BROKEN.items():
        (tmp_path / "broken" / name).write_bytes(source)
    for skipped in ("site-packages", "__pycache__", ".hidden"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "other.py").write_text("def other(): pass\n", encoding="utf-8")
    return tmp_path


def census(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the example in a process of its own, warnings shown."""
    command = [sys.executable, "-X", "utf8", "-W", "always", str(CENSUS), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=check, timeout=100)


def row(output: str, title: str) -> list[str]:
    """Return the columns of one row of the table of packages."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{title} "))
    return line.removeprefix(title).split()


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """The example, imported."""
    spec = importlib.util.spec_from_file_location("census_example", CENSUS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_holds_the_numbers_of_a_known_folder(folder: Path) -> None:
    run = census(folder, "--workers", "2")
    #                                     files lines code comments functions classes complexity unparsed
    assert row(run.stdout, "known") == ["3", "39", "30", "1", "4", "1", "4.2", "-"]
    assert row(run.stdout, "broken") == ["6", "0", "0", "0", "0", "0", "-", "6"]
    assert row(run.stdout, "all") == ["9", "39", "30", "1", "4", "1", "4.2", "6"]
    assert "The answers are equal for all 9 files" in run.stdout


def test_the_most_complex_functions_are_listed_with_their_places(folder: Path) -> None:
    output = census(folder, "--workers", "2").stdout
    listed = [line.split() for line in output.splitlines() if "known/shapes.py:" in line]
    assert listed == [
        ["10", "branches", "known/shapes.py:19"],
        ["4", "Box.method", "known/shapes.py:12"],
        ["2", "Box.method.inner", "known/shapes.py:13"],
        ["1", "plain", "known/shapes.py:7"],
    ]


def test_a_file_that_does_not_parse_is_listed_with_its_reason(folder: Path) -> None:
    lines = census(folder, "--workers", "2").stdout.splitlines()
    assert "6 that do not parse" in lines
    for name, (_, reason) in BROKEN.items():
        assert reason in lines[lines.index(f"  broken/{name}") + 1]


def test_warnings_about_the_parsed_sources_are_not_shown(folder: Path) -> None:
    assert census(folder, "--workers", "2").stderr == ""


def test_the_standard_library_is_what_it_takes_by_default() -> None:
    run = census("--limit", "40", "--workers", "2")
    assert f"A census of 40 files below {Path(json.__file__).parents[1]}" in run.stdout
    assert "The answers are equal for all 40 files" in run.stdout


def test_a_real_package_parses_whole() -> None:
    run = census(Path(json.__file__).parent)
    assert row(run.stdout, "all")[-1] == "-"
    assert "_make_iterencode" in run.stdout


def test_different_answers_end_in_an_error(
    folder: Path, module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liar:
        def __call__(self, path: Path) -> object:
            return module.Report(lines=1)

        def options(self, **_: object) -> Liar:
            return self

        def map(self, paths: list[Path]) -> list[object]:
            return [module.Report(lines=2 if path.name == "shapes.py" else 1) for path in paths]

    monkeypatch.setattr(module, "survey", Liar())
    assert module.main([str(folder)]) == 1
    assert "The answers DIFFER for 1 of 9 files: known/shapes.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no/such/folder"], "is not a folder"),
        (["--workers", "0"], "must be at least 1, not 0"),
        (["--limit", "many"], "invalid positive value: 'many'"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_work(arguments: list[str], complaint: str) -> None:
    run = census(*arguments, check=False)
    assert run.returncode == 2
    assert complaint in run.stderr


def test_an_empty_folder_is_an_empty_census(tmp_path: Path) -> None:
    assert census(tmp_path).stdout.strip() == f"A census of 0 files below {tmp_path}"
