"""The ways to run a call that the contract is about: every backend, every start method."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import ParallelFunction, parallel_map
from tests.contract import functions

#: No task of such a call runs in the caller.
ISOLATED = {"max_workers": 2, "max_tasks_per_child": 10_000}

WAYS: dict[str, dict[str, Any]] = {
    "serial": {"backend": "serial"},
    "threads": {"backend": "threads", "max_workers": 2, "initializer": functions.nothing},
    "spawn": {**ISOLATED, "start_method": "spawn"},
}
if hasattr(os, "fork"):
    WAYS |= {
        "template": {**ISOLATED, "start_method": "template"},
        "fork": {**ISOLATED, "start_method": "fork"},
    }

#: What happens by itself, with no option but the number of workers: mostly here, sometimes there.
FREE: dict[str, dict[str, Any]] = {
    "processes": {"max_workers": 2},
    "threads, free": {"backend": "threads", "max_workers": 2},
}

PROCESSES = [way for way in WAYS if way not in {"serial", "threads"}]

Decorate = Callable[..., ParallelFunction[Any, Any]]


class Way:
    """One of the ways: decorates functions to be run so.

    Args:
        name: its name.
        options: its options.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self.options = options
        self.processes = name in PROCESSES
        self.here = name == "serial"

    def __call__(self, function: Callable[..., Any], **options: Any) -> ParallelFunction[Any, Any]:
        return parallel_map(function, **{**self.options, **options})


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Each way in turn, with every task where the way says."""
    return Way(request.param, WAYS[request.param])


@pytest.fixture(params={**WAYS, **FREE})
def any_way(request: pytest.FixtureRequest) -> Way:
    """Each way, and those where the planner decides."""
    return Way(request.param, {**WAYS, **FREE}[request.param])


@pytest.fixture(params=[way for way in {**WAYS, **FREE} if way not in {"spawn", "fork"}])
def backend_way(request: pytest.FixtureRequest) -> Way:
    """Each backend, where it makes no difference how processes are started."""
    return Way(request.param, {**WAYS, **FREE}[request.param])


@pytest.fixture(params=PROCESSES)
def process_way(request: pytest.FixtureRequest) -> Way:
    """The ways that use processes."""
    return Way(request.param, WAYS[request.param])
