"""What type checkers infer of shared objects; ``test_typing`` has mypy and pyright read it. Never run."""

# pyright: strict

from __future__ import annotations

from typing import assert_type

from manyhands.shared import Barrier, Condition, Event, Lock, Queue, Semaphore, Value

assert_type(Value(int, 3), Value[int])
assert_type(Value(float).add(0.5), float)
assert_type(Value(bool, True).value, bool)
assert_type(Value(int).compare_and_set(1, 2), bool)
assert_type(Lock().acquire(timeout=1), bool)
assert_type(Lock().holder_died, bool)
assert_type(Semaphore(2).acquire(blocking=False), bool)
assert_type(Event().wait(1.0), bool)
assert_type(Condition(Lock()).wait_for(lambda: "done"), str)
assert_type(Barrier(2).wait(), int)
assert_type(Queue(3).qsize(), int)
with Value(int).lock, Lock() as held:
    assert_type(held, bool)
