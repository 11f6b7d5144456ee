"""A program that sends frames of one library, pandas, polars or pyarrow, in all the ways, and tells what has not come out equal.

``test_frames`` runs it. Polars and Arrow start threads that stay, and a process that has these should not be forked: so it is not
the process of the tests. The functions are those of a script, and travel by value.
"""

from __future__ import annotations

import pickle
import sys
from importlib import import_module
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from manyhands import parallel_map

LIBRARY = sys.argv[1]
library: Any = import_module(LIBRARY)

#: Columns below and above what goes through shared memory, of what has 1, 4 or 8 bytes.
LENGTHS = st.sampled_from([0, 1, 7, 1000, 16_383, 16_384, 40_000, 140_000])
#: Of the same numbers always: the content is not what matters, and shrinks badly.
NUMBERS = np.random.default_rng(1).integers(0, 1 << 40, 140_000)

COLUMNS: dict[str, Any] = {
    "wide": lambda n: NUMBERS[:n],
    "narrow": lambda n: (NUMBERS[:n] % 100).astype("int8"),
    "real": lambda n: (NUMBERS[:n] / 7).astype("float32"),
    "flag": lambda n: NUMBERS[:n] % 3 == 0,
    "moment": lambda n: NUMBERS[:n].astype("M8[ms]"),
    "text": lambda n: [f"text {number}" for number in NUMBERS[:n].tolist()],
    "gaps": lambda n: [None if number % 5 == 0 else f"{number % 77}" for number in NUMBERS[:n].tolist()],
}


def make(length: int, columns: list[str]) -> Any:
    """Make a frame, a table."""
    content = {name: COLUMNS[name](length) for name in columns}
    return library.table(content) if LIBRARY == "pyarrow" else library.DataFrame(content)


def with_categories(frame: Any) -> Any:
    if LIBRARY == "pandas":
        return frame.astype({name: "category" for name in frame.columns if name == "gaps"})
    if LIBRARY == "polars":
        return frame.cast({name: library.Categorical for name in frame.columns if name == "gaps"})
    names = [name for name in frame.column_names if name == "gaps"]
    for name in names:
        column = frame[name].dictionary_encode()
        frame = frame.set_column(frame.column_names.index(name), name, column)
    return frame


def with_an_index(frame: Any) -> Any:
    return frame.set_index(frame.columns[0], drop=False) if LIBRARY == "pandas" else frame


FORMS: dict[str, Any] = {
    "as it is": lambda frame: frame,
    "a part": lambda frame: frame[len(frame) // 3 : len(frame) // 2],
    "every other": lambda frame: (
        frame.take(np.arange(0, len(frame), 2)) if LIBRARY == "pyarrow" else frame[::2]
    ),
    "twice": lambda frame: (
        library.concat_tables([frame, frame]) if LIBRARY == "pyarrow" else library.concat([frame, frame])
    ),
    "with categories": with_categories,
    "with an index": with_an_index,
}

frames = st.builds(
    lambda length, columns, form: FORMS[form](make(length, columns)),
    LENGTHS,
    st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True),
    st.sampled_from(sorted(FORMS)),
)


def check(back: Any, sent: Any) -> None:
    """The same types, names, contents."""
    assert type(back) is type(sent)
    if LIBRARY == "pyarrow":
        assert back.schema.equals(sent.schema, check_metadata=True)
        assert back.equals(sent)
    else:
        import_module(f"{LIBRARY}.testing").assert_frame_equal(back, sent)


def same(value: Any) -> Any:
    return value


def keyword(_: int, *, constant: Any) -> Any:
    return constant


def changed(frame: Any) -> Any:
    """Change what has come, as one may with a frame of one's own."""
    frame.iloc[: len(frame) // 2, 0] = frame.iloc[0, 0]
    frame["more"] = 1
    return frame


checking = settings(
    max_examples=int(sys.argv[2]), deadline=None, suppress_health_check=list(HealthCheck), database=None
)
options: dict[str, Any] = {"max_tasks_per_child": 100_000, "max_workers": 2}


@checking
@given(frame=frames)
@example(frame=make(140_000, sorted(COLUMNS)))
def as_argument_and_result(frame: Any) -> None:
    for back in parallel_map(same, **options).map([frame, frame]):
        check(back, frame)
    first, again = parallel_map(same, **options).submit((frame, {"again": frame})).result()
    check(first, frame)
    assert first is again["again"]


@checking
@given(frame=frames)
@example(frame=make(140_000, sorted(COLUMNS)))
def as_constant_and_in_a_closure(frame: Any) -> None:
    for back in parallel_map(keyword, **options).map(range(3), constant=frame):
        check(back, frame)
    for back in parallel_map(lambda _: frame, **options).map(range(3)):
        check(back, frame)


@checking
@given(frame=frames.filter(len))
def what_a_task_changes_nobody_else_sees(frame: Any) -> None:
    before = frame.copy(deep=True)
    # Not of a copy: when pandas 3 comes out of a pickle, an index and the column that it was made of change together.
    wanted = changed(pickle.loads(pickle.dumps(frame, 5)))
    for back in parallel_map(changed, **options).map([frame] * 3):
        check(back, wanted)
    check(frame, before)


as_argument_and_result()
as_constant_and_in_a_closure()
if LIBRARY == "pandas":  # the others' cannot be changed
    what_a_task_changes_nobody_else_sees()
print("equal")
