"""The rows of the first table: their titles, and the bars that the figures for manyhands are held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A limit that a figure has to keep: at least `limit`, or at most."""

    limit: float
    at_least: bool = True

    def met_by(self, figure: float) -> bool:
        """Say whether `figure` is on the right side of the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One kind of work.

    Attributes:
        key: Its name on the command line and in `work.JOBS`.
        title: Its name in the report.
        warm, cold: The bars for manyhands, with the pool warm and for the first call in a process.
        overhead: The figure is the extra time in microseconds, not the speed against the loop.
        one_by_one: Items given to a competitor that sends every item in a message of its own, where the
            whole row would take it minutes; its figure is then marked `~`. None for all of them.
    """

    key: str
    title: str
    warm: Bar
    cold: Bar
    overhead: bool = False
    one_by_one: int | None = None


_WITHIN_30_US = Bar(30, at_least=False)

ROWS = {
    row.key: row
    for row in (
        Row("plus_one", "x + 1 over 200,000 ints", Bar(0.95), Bar(0.90), one_by_one=5_000),
        Row("closure", "x + 1 over 200,000 ints, a closure", Bar(0.95), Bar(0.90), one_by_one=5_000),
        Row("4us", "4 µs each, 40,000 items", Bar(1.6), Bar(0.95), one_by_one=5_000),
        Row("1ms", "1 ms each, 1,000 items", Bar(1.9), Bar(1.5)),
        Row("100ms", "100 ms each, 12 items", Bar(1.9), Bar(1.6)),
        Row("growing", "cost growing with the index, 300 items, 3 ms on average", Bar(1.9), Bar(1.5)),
        Row("none", "no item", _WITHIN_30_US, _WITHIN_30_US, overhead=True),
        Row("one", "one item of 1 µs", _WITHIN_30_US, _WITHIN_30_US, overhead=True),
    )
}
"""Every row, by key, in the order of the report."""
