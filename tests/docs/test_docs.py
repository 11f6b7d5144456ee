"""The pages say what is so: their examples run, their links lead somewhere, their tables and drawings are those of the code."""

from __future__ import annotations

import doctest
import re
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

import manyhands
from manyhands.options import Options
from manyhands.scheduling.check import _ADVICE as KINDS
from manyhands.scheduling.check import Difference
from tests.conftest import Program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECIPES = ROOT / "examples" / "recipes"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))

#: Printed between two blocks of a page.
BETWEEN = "---- the next block ----"

FENCE = re.compile(
    r"^(?P<fence>`{3,}|~{3,})(?P<kind>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block of a page: what is said after the fence, what is in it, and its line."""

    kind: str
    body: str
    line: int


class Example(NamedTuple):
    """A Python block of a page, and what it prints: the text block after it, None if there is none."""

    source: str
    output: str | None
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(match["kind"].strip(), match["body"], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def examples(path: Path) -> list[Example]:
    found = blocks(path)
    return [
        Example(block.body, after.body if after is not None and after.kind == "text" else None, block.line)
        for block, after in zip_longest(found, found[1:])
        if block.kind == "python"
    ]


def script(examples: list[Example]) -> str:
    """The blocks as one program. One that is to end in a traceback is kept from ending the program."""
    parts = []
    for example in examples:
        source = example.source
        if example.output is not None and "Traceback (most recent call last):" in example.output:
            body = textwrap.indent(source, "    ")
            source = f"try:\n{body}except Exception:\n    import sys, traceback\n    traceback.print_exc(file=sys.stdout)\n"
        parts.append(f"{source}\nprint({BETWEEN!r}, flush=True)\n")
    return "\n".join(parts)


def same(wanted: str, got: str) -> bool:
    """Compare output; ``...`` stands for anything, as in a doctest."""
    lines = [line.rstrip() for line in got.splitlines()]
    return doctest.OutputChecker().check_output(wanted, "\n".join([*lines, ""]), doctest.ELLIPSIS)


def run_page(path: Path, run_program: Program) -> None:
    parts = examples(path)
    # The pages show what is seen without tblib, which the tests have.
    ran = run_program(script(parts), files={"tblib.py": "raise ImportError"})
    outputs = ran.out.split(f"{BETWEEN}\n")
    assert (ran.code, ran.err) == (0, ""), (
        f"{path.name}, in the block after that which printed {outputs[-2:]}:\n{ran.err}"
    )
    assert len(outputs) == len(parts) + 1
    for example, output in zip(parts, outputs, strict=False):
        if example.output is not None and not same(example.output, output):
            pytest.fail(
                f"{path.name}:{example.line} prints\n{output}and not\n{example.output}", pytrace=False
            )


#: Pages whose blocks run in order.
PAGES_RUN = (
    "index", "tutorial", "how-it-works", "how-to/data", "how-to/guests", "how-to/caches", "shared-memory", "accumulators",
    "caches",
)  # fmt: skip


@pytest.mark.parametrize("name", PAGES_RUN)
def test_the_blocks_of_a_page_run_in_order_and_print_what_stands_under_them(
    name: str, run_program: Program
) -> None:
    assert examples(DOCS / f"{name}.md")
    run_page(DOCS / f"{name}.md", run_program)


def test_the_example_of_the_readme_runs_on_a_folder_of_texts(run_program: Program, tmp_path: Path) -> None:
    first, *_ = examples(ROOT / "README.md")
    (tmp_path / "run1").mkdir()
    for name, text in {"a.md": "one two", "b.md": "three"}.items():
        (tmp_path / "run1" / name).write_text(text, encoding="utf-8")
    ran = run_program(first.source)
    assert (ran.code, ran.out, ran.err) == (0, "3\n2\n", "")


def test_the_other_calls_of_the_readme_run(run_program: Program) -> None:
    _, second, *_ = examples(ROOT / "README.md")
    given = "import asyncio\nfrom manyhands import parallel_map\nx, xs, stream, pairs = 1, [1, 2], iter([3]), [(1,), (2, 3.0)]\n"
    ran = run_program(
        f"{given}async def main():\n{textwrap.indent(second.source, '    ')}\nasyncio.run(main())\n"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(": 2 items give the same here and in a worker\n")


def test_the_jobs_of_the_readme_run(run_program: Program) -> None:
    _, _, third, *_ = examples(ROOT / "README.md")
    ran = run_program(
        f"from pathlib import Path\npath = Path('text')\n{third.source}", files={"text": "one two\nthree\n"}
    )
    assert (ran.code, ran.out, ran.err) == (0, "3\n2\n3\n", "")


def test_the_shared_totals_of_the_readme_count(run_program: Program) -> None:
    *_, fourth = examples(ROOT / "README.md")
    given = (
        "from pathlib import Path\nfrom manyhands import parallel_map\npaths = [Path('text'), Path('more')]\n"
    )
    ran = run_program(given + fourth.source, files={"text": "one two\ntwo\n", "more": "two one three"})
    assert (ran.code, ran.out, ran.err) == (0, "[('two', 3), ('one', 2), ('three', 1)]\n", "")


def test_every_python_block_belongs_to_a_page_that_is_run() -> None:
    run = {DOCS / f"{name}.md" for name in PAGES_RUN}
    assert [str(path) for path in PAGES if examples(path) and path not in run] == []


def test_a_wrong_output_is_noticed(run_program: Program, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\nprints\n\n```text\n3\n```\n")
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:1 prints\n2\nand not\n3\n"):
        run_page(page, run_program)


def test_an_exception_that_the_page_does_not_show_is_noticed(run_program: Program, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_page(page, run_program)


# links


def headings(path: Path) -> set[str]:
    """The anchors that MyST makes of headings, and explicit ones."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    for title in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"))
    return found


def links(path: Path) -> Iterator[tuple[str, Path | None, str]]:
    """Yield what each link says, the file it leads to (None: a page outside), and the anchor."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            yield target, None, ""
            continue
        name, _, anchor = target.partition("#")
        yield target, (path.parent / name).resolve() if name else path, anchor
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        yield target, (path.parent / f"{target}.md").resolve(), ""


def test_internal_links_lead_to_files_and_headings_that_exist() -> None:
    broken = []
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link, target, anchor in links(page):
            if target is not None and (not target.exists() or (anchor and anchor not in headings(target))):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_references_by_name_have_a_target() -> None:
    targets = {
        name
        for page in PAGES
        for name in re.findall(r"^\(([\w-]+)\)=$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    wanted = {
        name
        for page in PAGES
        for name in re.findall(r"\{ref\}`(?:[^`<]*<)?([^`>]+)>?`", page.read_text(encoding="utf-8"))
    }
    assert wanted <= targets
    assert wanted, "the pages have none any more: this test looks for nothing"


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {"index"}
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "{toctree}":
                names = [
                    line.strip()
                    for line in block.body.splitlines()
                    if line.strip() and not line.startswith(":")
                ]
                listed |= {(page.parent / name).relative_to(DOCS).as_posix() for name in names}
    assert {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES} == listed


# what pages take from elsewhere


def inclusions(page: Path) -> list[tuple[Path, dict[str, str]]]:
    """The files that a page includes, each with its options."""
    found = []
    for block in blocks(page):
        if block.kind.startswith("{literalinclude}"):
            options = dict(re.findall(r'^:([\w-]+): *"?(.*?)"?$', block.body, re.MULTILINE))
            found.append(((page.parent / block.kind.split(maxsplit=1)[1]).resolve(), options))
    return found


def test_each_recipe_has_both_its_programs_on_a_page() -> None:
    included = {path for page in HOW_TO for path, _ in inclusions(page)}
    programs = set(RECIPES.rglob("*.py"))
    assert programs
    assert included == programs


def test_what_the_standard_library_needs_comes_before_ours() -> None:
    for page in HOW_TO:
        order = [path for path, _ in inclusions(page)]
        for path in order:
            theirs = RECIPES / "standard_library" / path.name
            if path.parent == RECIPES and theirs.exists():
                assert order.index(theirs) < order.index(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_includes_is_there_and_not_empty(page: Path) -> None:
    for path, options in inclusions(page):
        lines = path.read_text(encoding="utf-8").splitlines()
        begin, end = options.get("start-at", ""), options.get("end-before", options.get("end-at", ""))
        first = next((n for n, line in enumerate(lines) if begin in line), None)
        assert first is not None, (
            f"{page.name}: the beginning of the part of {path.name} is not found: {begin}"
        )
        last = next((n for n, line in enumerate(lines) if n > first and end in line), None)
        assert last is not None, f"{page.name}: the end of the part of {path.name} is not found: {end}"
        if end:
            assert any(line.strip() for line in lines[first:last])


@pytest.mark.parametrize(
    "module",
    [
        "engine/pool.py",
        "engine/talking.py",
        "transport/journal.py",
        "scheduling/chunks.py",
        "scheduling/streaming.py",
    ],
)
def test_drawings_and_figures_are_those_of_the_modules(module: str) -> None:
    files = [path for path, _ in inclusions(DOCS / "how-it-works.md")]
    assert ROOT / "src" / "manyhands" / module in files


def test_the_table_of_options_is_that_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \|", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    defaults = {name: repr(value) for name, value in Options().as_dict().items()}
    assert dict(rows) == {**defaults, "retry_on": "Exception"}


def test_the_reference_has_every_public_name() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    documented = set(
        re.findall(r"^\.\. auto(?:function|class|exception|data):: manyhands\.(\w+)$", text, re.MULTILINE)
    )
    assert documented == set(manyhands.__all__)


def test_the_attributes_of_a_difference_are_those_of_the_code() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    part = text[text.index("### What `check()` reports") : text.index("(options)=")]
    assert tuple(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == Difference._fields
    assert re.search(rf"^\| `kind` \| {'.*'.join(f'`.{kind}.`' for kind in KINDS)} \|$", part, re.MULTILINE)


def test_the_glossary_has_the_words_of_the_project() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    words = ["call", "task", "chunk", "worker", "pool", "backend", "channel", "journal", "stream", "port"]
    assert [
        word for word in [*words, "template process"] if not re.search(rf"^{word}$", text, re.MULTILINE)
    ] == []
