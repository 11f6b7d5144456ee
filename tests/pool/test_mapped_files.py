"""Arrays that are files mapped into memory: what arrives in a worker, or comes back, is mapped from the same file."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyhands import parallel_map
from manyhands.transport.serialize import Encoder, loads

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped"
)

DTYPES = ("u1", "<f8", ">i4", "c16", [("number", "<i4"), ("name", "S5")])


def in_workers(function: Callable[..., Any], **options: Any) -> Any:
    """A parallel function none of whose tasks runs in the caller."""
    return parallel_map(function, max_workers=2, max_tasks_per_child=100_000, **options)


def encoded(obj: object) -> bytes:
    """What travels of an object; nothing of it is large."""
    stored: list[Any] = []
    data = Encoder(store=lambda pickled, buffers: stored.append(pickled)).encode(obj)
    assert not stored
    return data


def known(array: Any) -> tuple[Any, ...]:
    return (
        type(array).__name__, array.dtype, array.shape, array.strides, array.flags.writeable, array.tobytes(),
        getattr(array, "filename", None), getattr(array, "offset", None), getattr(array, "mode", None),
    )  # fmt: skip


def saved(path: Path, rows: int = 100_000) -> Path:
    np.save(path, np.arange(rows * 4.0).reshape(rows, 4))
    return path


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 6), max_size=3),
    order=st.sampled_from("CF"),
    offset=st.sampled_from([0, 3, 4096, 5000]),
    mode=st.sampled_from(["r", "r+", "w+"]),
    steps=st.lists(st.sampled_from([1, 2, -1, -2]), min_size=3, max_size=3),
    plain=st.booleans(),
)
def test_whatever_part_of_a_file_it_arrives_as_it_was(
    tmp_path: Path,
    dtype: Any,
    shape: list[int],
    order: Any,
    offset: int,
    mode: Any,
    steps: list[int],
    plain: bool,
) -> None:
    path = tmp_path / "file"
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    path.write_bytes(bytes(n % 251 for n in range(offset + size + 8)))
    whole: Any = np.memmap(path, dtype, mode, offset, tuple(shape), order)
    part = whole[tuple(slice(None, None, step) for step in steps[: len(shape)])] if shape else whole
    if plain:  # of these, what lies in one piece
        part = np.asarray(whole)
    there = loads(Encoder(store=lambda *_: None).encode(part))
    assert known(there)[:6] == known(part)[:6]
    if not plain:
        assert known(there)[6:] == (*known(part)[6:8], "r" if mode == "r" else "r+")
        if there.flags.writeable:
            there[...] = np.zeros(1, dtype)[0]
            assert part.tobytes() == there.tobytes()


@pytest.mark.parametrize(
    "view", [lambda rows: rows, lambda rows: rows[10:], np.asarray], ids=["whole", "part", "array"]
)
def test_no_content_travels(tmp_path: Path, view: Callable[[Any], Any]) -> None:
    rows = view(np.load(saved(tmp_path / "rows.npy"), mmap_mode="r"))
    for obj in (rows, [rows, {"deep": rows}], lambda: rows):
        assert len(encoded(obj)) < 3000


def test_other_picklers_have_the_content(tmp_path: Path) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="r")
    encoded(rows)
    assert len(pickle.dumps(rows)) > rows.nbytes


def test_items_constants_and_closures_are_mapped_in_workers(tmp_path: Path) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="r")
    look = in_workers(
        lambda part, *, whole: (part.filename, whole.filename, rows.filename, float(part.sum()))
    )
    parts = [rows[:10], rows[10:20]]
    assert look.map(parts, whole=rows) == [(rows.filename,) * 3 + (float(part.sum()),) for part in parts]


def test_what_a_task_writes_is_in_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="r+")

    def negate(part: Any) -> None:
        part *= -1

    expected = -np.array(rows)
    in_workers(negate).map([rows[:50_000], np.asarray(rows)[50_000:]])
    assert np.array_equal(rows, expected)
    assert not recwarn.list


def test_a_relative_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "rows.npy")
    monkeypatch.chdir(tmp_path)
    rows = np.load("rows.npy", mmap_mode="r")
    monkeypatch.chdir("/")
    assert in_workers(lambda part: (part.filename, part[1, 1])).map([rows]) == [(rows.filename, 5.0)]


def test_many_parts_of_a_file_need_one_descriptor(tmp_path: Path) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="r")
    there = loads(encoded([rows[n : n + 10] for n in range(50)]))
    assert len({id(part._mmap) for part in there}) == 1
    assert [part[0, 0] for part in there] == [4 * n for n in range(50)]


def test_a_file_that_was_renamed_is_found(tmp_path: Path) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="r")
    encoded(rows)
    (tmp_path / "rows.npy").rename(tmp_path / "others.npy")
    assert known(loads(encoded(rows))) == known(rows)


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_of_a_file_that_is_gone_the_content_travels(tmp_path: Path, replaced: bool) -> None:
    path = saved(tmp_path / "rows.npy")
    rows = np.load(path, mmap_mode="r")
    encoded(rows)
    path.unlink()
    if replaced:
        np.save(path, np.zeros((100_000, 4)))
    there, total = in_workers(lambda part: (type(part).__name__, float(part.sum()))).map([rows])[0]
    assert (there, total) == ("memmap", float(rows.sum()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up a right and have it back")
@pytest.mark.parametrize(("mode", "rights"), [("r", 0o000), ("r+", 0o000), ("r+", 0o444)])
def test_of_a_file_that_may_not_be_opened_any_more_the_content_travels(
    tmp_path: Path, mode: Any, rights: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # others may not look into pytest's
        os.chmod(folder, 0o755)
        rows = np.load(saved(Path(folder, "rows.npy"), rows=10), mmap_mode=mode)
        assert type(loads(encoded(rows))).__name__ == "memmap"
        os.chmod(rows.filename, rights)
        os.seteuid(65534)
        try:
            arrived = loads(encoded(rows))
        finally:
            os.seteuid(0)
    assert (arrived == rows).all()


def test_a_file_that_is_replaced_on_the_way_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "rows.npy")
    data = encoded(np.load(path, mmap_mode="r"))
    saved(tmp_path / "new.npy").replace(path)
    with pytest.raises(FileNotFoundError, match="replaced while the array was on its way"):
        loads(data)


def test_of_private_changes_the_content_travels(tmp_path: Path) -> None:
    rows = np.load(saved(tmp_path / "rows.npy"), mmap_mode="c")
    rows[0] = 77
    assert in_workers(lambda part: float(part[0, 0])).map([rows]) == [77.0]


def test_a_result_comes_back_mapped(tmp_path: Path) -> None:
    def make(n: int) -> Any:
        made = np.memmap(tmp_path / f"{n}", "i4", "w+", shape=(3, 4))
        made[:] = n
        return made

    first, second = in_workers(make).map([1, 2])
    assert (type(first), Path(first.filename).name, first.mode) == (np.memmap, "1", "r+")
    second[0] = 5
    assert np.fromfile(tmp_path / "2", "i4").tolist() == [5] * 4 + [2] * 8
