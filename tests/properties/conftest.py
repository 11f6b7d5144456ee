"""What follows each property test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """After each test the shared threads are ended."""
    yield
    threads = sys.modules.get("manyhands.backends.threads")
    if threads is not None:
        threads.shutdown()
