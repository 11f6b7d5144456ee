"""The decorated function as an object: it stays the function it was, is copied, compared, pickled."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from typing import Any

import cloudpickle
import pytest

from manyhands import ParallelFunction, parallel_map
from tests.contract import functions
from tests.contract.conftest import Way
from tests.contract.functions import Scale, Special


def documented(x: int, *, plus: int = 1) -> int:
    """Add."""
    return x + plus


documented.mark = "marked"  # type: ignore[attr-defined]


class TestTheFunctionItWas:
    def test_calling_it_calls_the_function_here(self) -> None:
        assert parallel_map(functions.where)(None) == functions.where(None)
        assert parallel_map(documented)(1, plus=4) == 5

    def test_it_looks_like_the_function(self) -> None:
        function: Any = parallel_map(documented)
        for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "mark"):
            assert getattr(function, name) == getattr(documented, name)
        assert function.__wrapped__ is documented
        assert inspect.signature(function) == inspect.signature(documented)
        assert callable(function)
        assert "documented" in repr(function)

    def test_what_an_object_is_called_does_not_hide_the_methods(self) -> None:
        class Step:
            def __init__(self) -> None:
                self.map, self.options, self.submit, self.settings = {}, {"scale": 2}, None, "own"

            def __call__(self, x: int) -> int:
                return x * self.options["scale"]

        function = parallel_map(Step())
        assert function.map([1, 2]) == [2, 4]
        assert function.options(max_workers=1).settings.max_workers == 1

    def test_methods_of_a_class_are_not_taken_over_when_it_is_decorated(self) -> None:
        class Row:
            def __init__(self, x: int) -> None:
                self.x = x

            def map(self) -> None: ...

            def submit(self) -> None: ...

        assert [row.x for row in parallel_map(Row).map([1, 2])] == [1, 2]

    def test_a_decorated_method_is_a_method(self) -> None:
        scale = Scale(3)
        assert scale.method(2, plus=1) == 7
        assert Scale.method(scale, 2) == 6
        assert Scale.static_inside(2) == scale.static_inside(2) == 14
        assert Scale.static_outside(2) == scale.static_outside(2) == 16
        assert Special.class_inside(2) == ("Special", 6)


class TestOptions:
    def test_a_copy_has_other_options_and_the_original_its_own(self) -> None:
        function = parallel_map(documented, max_workers=2)
        other = function.options(max_workers=3, chunksize=4)
        assert (function.settings.max_workers, function.settings.chunksize) == (2, None)
        assert (other.settings.max_workers, other.settings.chunksize) == (3, 4)
        assert other(1) == function(1) == 2

    def test_a_bound_method_keeps_the_options(self) -> None:
        assert Scale.method.options(chunksize=3).settings.chunksize == 3

        class Local:
            @parallel_map(chunksize=5)
            def method(self) -> None: ...

        assert Local().method.settings.chunksize == 5

    def test_decorating_twice_is_decorating_once(self, way: Way) -> None:
        once = parallel_map(documented, chunksize=2)
        twice = parallel_map(**way.options)(once)
        assert twice.settings.chunksize == 2
        assert twice.settings.backend == way.options.get("backend", "processes")
        assert twice.map([1, 2, 3]) == [2, 3, 4]

    def test_copies_are_independent_of_the_defaults_of_each_other(self) -> None:
        function = parallel_map(documented)
        assert function.options(chunksize=2).options(max_workers=3).settings.chunksize == 2


class TestPickling:
    def test_a_function_of_a_module_is_pickled_by_its_name(self) -> None:
        data = pickle.dumps(functions.decorated)
        assert pickle.loads(data) is functions.decorated
        assert len(data) < 100

    def test_a_copy_with_options_keeps_them(self) -> None:
        other = pickle.loads(pickle.dumps(functions.decorated.options(chunksize=9)))
        assert other.settings.chunksize == 9
        assert other.settings.max_workers == 2
        assert other(3) == 9

    def test_a_local_function_is_pickled_by_value(self) -> None:
        k = 5
        function = cloudpickle.loads(cloudpickle.dumps(parallel_map(lambda x: x + k, chunksize=3)))
        assert isinstance(function, ParallelFunction)
        assert function.settings.chunksize == 3
        assert function.map([1, 2]) == [6, 7]

    def test_a_bound_method_is_pickled_with_its_object(self) -> None:
        method = pickle.loads(pickle.dumps(Scale(4).method))
        assert method(2) == 8
        assert method.map([1, 2]) == [4, 8]

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
    def test_it_can_be_copied(self, duplicate: Any) -> None:
        assert duplicate(functions.decorated)(3, plus=1) == 10

    def test_it_can_be_an_argument_and_a_result(self, way: Way) -> None:
        apply = way(lambda function, x: function(x))
        local = parallel_map(lambda x: -x)
        assert apply.map([functions.decorated, local, Scale(2).method], [3, 4, 5]) == [9, -4, 10]
        [found] = way(lambda _: local).map([1])
        assert found(3) == -3

    def test_a_mapped_function_may_be_decorated_in_the_task(self, way: Way) -> None:
        assert way(lambda n: parallel_map(functions.triple).map(range(n))).map([2, 3]) == [[0, 3], [0, 3, 6]]

    def test_a_partial_of_a_decorated_function(self, way: Way) -> None:
        assert way(functools.partial(functions.decorated, plus=10)).map([1, 2]) == [11, 14]
