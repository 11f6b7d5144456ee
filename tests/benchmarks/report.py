"""Turns results into tables, as text for a terminal or as Markdown for the documentation.

Every figure is the median over the rounds with, in parentheses, the least and the greatest. A bar is held
against the median.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import ADAPTERS
from fresh import Results
from probes import IMPORTS, PROBES, Probe
from rows import ROWS, Bar, Row

if TYPE_CHECKING:
    from measure import Result

PHASES = {"warm": "pool warm", "cold": "first call in the process"}


@dataclass
class Table:
    """A titled table with notes under it."""

    title: str
    columns: Sequence[str]
    lines: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the table with aligned columns."""
        table = [self.columns, *self.lines]
        widths = [max(len(line[place]) for line in table) for place in range(len(self.columns))]
        table.insert(1, ["-" * width for width in widths])
        aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
        return "\n".join([self.title, "", *aligned, *self.notes, ""])

    def markdown(self) -> str:
        """Return the table under a heading of the third level."""
        table = [self.columns, ["---"] * len(self.columns), *self.lines]
        rows = ("| " + " | ".join(line) + " |" for line in table)
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *rows, "", *notes, *([""] if notes else [])])


def figure(values: Sequence[float], form: str, bar: Bar | None = None, mark: str = "") -> str:
    """Return a median, its spread and whether it meets the bar: `0.97 (0.95–0.99) ✓ meets ≥ 0.95`."""
    middle = statistics.median(values)
    text = mark + form.format(middle)
    if len(values) > 1:
        text += f" ({form.format(min(values))}–{form.format(max(values))})"
    if bar is not None:
        text += f" ✓ meets {bar}" if bar.met_by(middle) else f" ✗ misses {bar}"
    return text


def succeeded(results: Sequence[Result]) -> list[Result]:
    """Return the results that hold figures."""
    return [result for result in results if result["status"] == "ok"]


def row_values(row: Row, phase: str, results: Sequence[Result]) -> list[float]:
    """Return the figure of each round: the speed against the loop, or for tiny inputs the extra microseconds."""
    key, unit = (f"{phase}_extra", 1e-6) if row.overhead else (f"{phase}_speed", 1.0)
    return [result[key] / unit for result in succeeded(results)]


def best_speed(phase: str, results: Sequence[Result]) -> float:
    """Return the speed of the fastest call of all rounds against the fastest loop."""
    fastest_loop = min(result[f"loop_{phase}"] for result in results)
    return float(fastest_loop / min(result[phase] for result in results))


def row_form(row: Row) -> str:
    """Return how a row's figures are printed."""
    return "{:+.1f} µs" if row.overhead else "{:.2f}"


def row_table(row: Row, by_competitor: dict[str, list[Result]]) -> Table:
    """Return the table of one row, a line for each competitor."""
    table = Table(row.title, ["", *PHASES.values()])
    for name in in_order(by_competitor):
        results = by_competitor[name]
        cells = []
        for phase in PHASES:
            bar = getattr(row, phase) if name == "manyhands" else None
            mark = "~ " if any(result["items"] < result["of"] for result in succeeded(results)) else ""
            values = row_values(row, phase, results)
            # Small ratios lie orders of magnitude apart; two digits of each are worth reading.
            form = (
                "{:.2g}" if values and not row.overhead and statistics.median(values) < 0.1 else row_form(row)
            )
            cells.append(figure(values, form, bar, mark) if values else results[0]["status"])
        table.lines.append([ADAPTERS[name].title, *cells])
        table.notes += mishaps(ADAPTERS[name].title, results)
        if name in ("manyhands", "forks") and not row.overhead and len(good := succeeded(results)) > 1:
            best = ", ".join(f"{title} {best_speed(phase, good):.2f}" for phase, title in PHASES.items())
            table.notes.append(
                f"{ADAPTERS[name].title}, fastest call against fastest loop of all rounds: {best}."
            )
        idle = [result["loop_warm"] / result["loop_after"] for result in succeeded(results)]
        if len(idle) > 1 and not row.overhead and statistics.median(idle) > 1.2:
            slower = figure(idle, "{:.2f}")
            table.notes.append(
                f"{ADAPTERS[name].title}: beside its idle pool the loop took {slower} times as long as after it."
            )
    every = [result for results in by_competitor.values() for result in succeeded(results)]
    whole = [result["loop_cold"] for result in every if result["items"] == result["of"]]
    if whole:
        table.notes.append(f"The plain loop takes {seconds(statistics.median(whole))}.")
    if partial := sorted({result["items"] for result in every if result["items"] < result["of"]}):
        table.notes.append(
            f"~ loop and competitor both on {partial[0]:,} of the items, which it sends one by one."
        )
    return table


def summary_table(rows: Results) -> Table:
    """Return what manyhands reached on each row, against the bar and against the best of the others."""
    table = Table(
        "manyhands on every row",
        ["", *(part for title in PHASES.values() for part in (title, "best of the others"))],
    )
    for key, by_competitor in rows.items():
        row, cells = ROWS[key], []
        for phase in PHASES:
            own = row_values(row, phase, by_competitor.get("manyhands", []))
            cells.append(figure(own, row_form(row), getattr(row, phase)) if own else "no figure")
            cells.append(best_of_others(row, phase, by_competitor, own))
        table.lines.append([row.title, *cells])
    defined = [
        result["define"] * 1e6
        for by_name in rows.values()
        for result in succeeded(by_name.get("manyhands", []))
    ]
    if defined:
        table.notes.append(
            f"Decorating the first function of a process takes {figure(defined, '{:.0f}')} µs."
        )
    return table


def best_of_others(row: Row, phase: str, by_competitor: dict[str, list[Result]], own: Sequence[float]) -> str:
    """Return the best competitor's figure and name, and whether manyhands (figures `own`) comes first."""
    medians = {
        name: statistics.median(values)
        for name, results in by_competitor.items()
        if name != "manyhands"
        and not ADAPTERS[name].reference
        and (values := row_values(row, phase, results))
    }
    if not medians:
        return "nobody"
    name = min(medians, key=medians.__getitem__) if row.overhead else max(medians, key=medians.__getitem__)
    text = f"{row_form(row).format(medians[name])} {ADAPTERS[name].title}"
    if own:
        bar = Bar(medians[name], at_least=not row.overhead)
        text += " ✓ manyhands is first" if bar.met_by(statistics.median(own)) else " ✗ manyhands is behind"
    return text


def probe_table(probes: Results) -> Table:
    """Return the second table: a line for each probe and competitor."""
    table = Table("Other measures", ["", "", "figure", "seen along the way"])
    for key, by_competitor in probes.items():
        probe = PROBES[key]
        for place, name in enumerate(name for name in probe.competitors if name in by_competitor):
            results = by_competitor[name]
            values = probe_values(probe, name, by_competitor)
            bar = probe.bar if name == "manyhands" else None
            title = ADAPTERS[name].title if name in ADAPTERS else IMPORTS[name]
            cell = figure(values, probe.form, bar) if values else results[0]["status"]
            table.lines.append([probe.title if place == 0 else "", title, cell, asides(results)])
            table.notes += mishaps(f"{probe.key}, {title}", results)
    return table


def probe_values(probe: Probe, name: str, by_competitor: dict[str, list[Result]]) -> list[float]:
    """Return one competitor's figure of each round, divided by that of the one it is held against, if any."""
    if probe.against is None:
        return [result["value"] for result in succeeded(by_competitor[name])]
    pairs = zip(by_competitor[name], by_competitor.get(probe.against, []), strict=False)
    return [own["value"] / other["value"] for own, other in pairs if own["status"] == other["status"] == "ok"]


def asides(results: Sequence[Result]) -> str:
    """Return the medians of what a probe has measured besides its value."""
    good = succeeded(results)
    names = [name for name in (good[0] if good else {}) if name not in ("status", "value")]
    return ", ".join(
        f"{name.replace('_', ' ')} {statistics.median(r[name] for r in good):,.4g}" for name in names
    )


def mishaps(title: str, results: Sequence[Result]) -> Iterator[str]:
    """Yield one note for each way in which a competitor gave no figure."""
    bad = [f"{result['status']}: {result['detail']}" for result in results if result["status"] != "ok"]
    for text in dict.fromkeys(bad):
        yield f"{title}, {bad.count(text)} of {len(results)}: {text}"


def machine(cores: Sequence[int], names: Sequence[str]) -> list[str]:
    """Describe the machine and the versions that were measured."""
    found = {}
    for distribution in filter(None, (ADAPTERS[name].distribution for name in names)):
        try:
            found[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[distribution] = "not installed as a distribution"
    load = f", load average {os.getloadavg()[0]:.2f} at the end" if hasattr(os, "getloadavg") else ""
    return [
        f"{date.today()}, {platform.system()} {platform.release()}, {processor()}, {os.cpu_count()} cores"
        + (f" of which {len(cores)} were used" if cores else "")
        + load,
        f"Python {platform.python_version()} ({platform.python_implementation()}), "
        + ", ".join(f"{name} {version}" for name, version in found.items()),
    ]


def processor() -> str:
    """Return the processor's name, as far as the platform tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def seconds(value: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.2g} µs"


def in_order(by_competitor: dict[str, list[Result]]) -> list[str]:
    """Return the competitors of a row in the order of the report; the rounds began with others."""
    return [name for name in ADAPTERS if name in by_competitor]


def render(rows: Results, probes: Results, heading: Sequence[str], *, markdown: bool) -> str:
    """Return the whole report: the heading, the summary, the tables of the rows, the second table."""
    tables = [summary_table(rows), *(row_table(ROWS[key], rows[key]) for key in rows)] if rows else []
    if probes:
        tables.append(probe_table(probes))
    form: Callable[[Table], str] = Table.markdown if markdown else Table.text
    head = "\n".join(f"- {line}" if markdown else line for line in heading)
    return "\n".join([head, "", *map(form, tables)])
