"""Whatever can be called can be mapped, and gives what the loop gives, in every way."""

from __future__ import annotations

import functools
from typing import Any

from manyhands import parallel_map
from tests.contract import functions
from tests.contract.conftest import Way
from tests.contract.functions import KINDS, Scale, Special


def test_functions_of_every_kind_give_what_the_loop_gives(any_way: Way) -> None:
    expected = {name: [function(item) for item in items] for name, (function, items) in KINDS.items()}
    assert {name: any_way(function).map(items) for name, (function, items) in KINDS.items()} == expected


def test_submit_takes_functions_of_every_kind() -> None:
    futures = {name: parallel_map(kind.function).submit(kind.items[3]) for name, kind in KINDS.items()}
    expected = {name: function(items[3]) for name, (function, items) in KINDS.items()}
    assert {name: future.result() for name, future in futures.items()} == expected


def test_a_class_in_a_function_can_be_mapped(any_way: Way) -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def squared(self) -> int:
            return self.x**2

    made = any_way(Local).map([1, 2, 3])
    assert [type(each) for each in made] == [Local] * 3
    assert any_way(Local.squared).map(made) == [1, 4, 9]


def test_a_function_written_in_the_test_can_be_mapped_over_local_objects(any_way: Way) -> None:
    factor = 3

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    def scaled(local: Local, *, plus: int = 1) -> int:
        return local.x * factor + plus

    assert any_way(scaled).map([Local(x) for x in range(5)], plus=2) == [2, 5, 8, 11, 14]


def test_a_function_with_its_own_parallel_function_in_a_closure(any_way: Way) -> None:
    square = parallel_map(lambda x: x * x)
    assert any_way(lambda x: square(x) + 1).map([1, 2, 3]) == [2, 5, 10]


def test_a_recursive_local_function(any_way: Way) -> None:
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert any_way(fibonacci).map(range(10)) == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]


class TestMethods:
    """Binding is what it is for the plain function."""

    def test_a_method_is_bound_to_its_object(self, way: Way) -> None:
        scale = Scale(3)
        assert scale.method.options(**way.options).map([1, 2, 3], plus=1) == [4, 7, 10]

    def test_a_method_taken_from_its_class_maps_over_objects(self, way: Way) -> None:
        scales = [Scale(1), Scale(2), Special(3)]
        assert Scale.method.options(**way.options).map(scales, [10, 20, 30]) == [10, 40, 90]

    def test_a_subclass_inherits_it(self, way: Way) -> None:
        assert Special.class_inside.options(**way.options).map([1, 2]) == [("Special", 3), ("Special", 6)]
        assert Scale.class_inside.options(**way.options).map([1, 2]) == [("Scale", 2), ("Scale", 4)]

    def test_super_works_in_a_decorated_method(self, way: Way) -> None:
        class Base:
            def value(self, x: int) -> int:
                return x

        class Derived(Base):
            @parallel_map
            def value(self, x: int) -> int:
                return super().value(x) * 2

        assert Derived().value.options(**way.options).map([1, 2]) == [2, 4]

    def test_the_object_in_a_worker_is_a_copy(self, process_way: Way) -> None:
        class Counter:
            def __init__(self) -> None:
                self.n = 0

            def add(self, x: int) -> int:
                self.n += x
                return x

        counter = Counter()
        assert process_way(counter.add).map([1, 2, 3]) == [1, 2, 3]
        assert counter.n == 0


class TestSeveralArguments:
    def test_several_iterables_are_zipped(self, backend_way: Way) -> None:
        assert backend_way(functions.three).map([1, 2], [3, 4], [5, 6]) == [(1, 3, 5), (2, 4, 6)]

    def test_keywords_are_constants(self, backend_way: Way) -> None:
        function = backend_way(functions.three)
        assert function.map([1, 2], [3, 4], plus=7) == [(1, 3, 7), (2, 4, 7)]
        assert function.map([1, 2], y=8, plus=7) == [(1, 8, 7), (2, 8, 7)]
        assert function.starmap([(1, 2), (3, 4, 5)], plus=7) == [(1, 2, 7), (3, 4, 12)]
        assert list(function.imap([1, 2], [3, 4], plus=7)) == [(1, 3, 7), (2, 4, 7)]

    def test_map_does_not_look_into_items(self, backend_way: Way) -> None:
        items: list[Any] = [(1, 2), {"a": 1}, [3], "ab"]
        assert backend_way(lambda item: item).map(items) == items

    def test_a_partial_takes_the_rest(self, backend_way: Way) -> None:
        partial = functools.partial(functools.partial(functions.three, 1), plus=5)
        assert backend_way(partial).map([2, 3]) == [(1, 2, 5), (1, 3, 5)]

    def test_keywords_named_as_our_own_parameters_reach_the_function(self, backend_way: Way) -> None:
        names = ["items", "function", "constants", "iterables", "name", "chunksize", "timeout", "backend"]

        def gather(x: int, **keywords: int) -> tuple[int, dict[str, int]]:
            return x, keywords

        constants = {name: number for number, name in enumerate(names)}
        assert backend_way(gather).map([1, 2], **constants) == [(1, constants), (2, constants)]
