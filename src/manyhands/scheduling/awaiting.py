"""``amap``: a call in a thread of its own, awaited; cancelling the awaiting task stops the work."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from manyhands.scheduling.call import Carried, Stopped

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
        except Carried as carried:
            raise stopped(carried.error) from carried.error
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


async def outcome(future: Future[Any]) -> Any:
    """Return the result of a single call.

    Args:
        future: of the call; it is not cancelled with this.
    """
    mirror: Future[Any] = Future()

    def done(future: Future[Any]) -> None:
        if not mirror.set_running_or_notify_cancel():
            return
        if future.cancelled():
            mirror.set_exception(asyncio.CancelledError())
            return
        error = future.exception()
        if isinstance(error, StopIteration):
            cause, error = error, stopped(error)
            error.__cause__ = cause
        if error is None:
            mirror.set_result(future.result())
        else:
            mirror.set_exception(error)

    future.add_done_callback(done)
    return await asyncio.wrap_future(mirror)


def stopped(error: StopIteration) -> RuntimeError:
    """What a coroutine raises for a task that raises ``StopIteration``, as PEP 479 has it."""
    return RuntimeError(f"a task raised StopIteration{error.args or ''}")
