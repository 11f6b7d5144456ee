"""``amap``: a call in a thread of its own, awaited; cancelling the awaiting task stops the work."""

from __future__ import annotations

import asyncio

from manyhands.scheduling.call import Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from manyhands.scheduling.call import Call


async def collect(call: Call) -> list[Any]:
    """Return all results of a call, without holding up the event loop."""

    def work() -> list[Any]:
        results: list[Any] = []
        try:
            for run in call.runs():
                results += run
        except Stopped:  # nobody is waiting for them any more
            pass
        return results

    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        call.stop()
        await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()  # looked at, so that nobody reports it as forgotten
        raise
