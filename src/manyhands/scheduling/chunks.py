"""The planner: how many tasks travel together, and whether they travel at all. Arithmetic on numbers: no clock, no I/O.

``call`` feeds it what was measured and asks three questions: is it worth going there (to the workers), how many tasks to
run here (in the caller) before looking again, how many to put into the next chunk. (A fourth question, whether to take a part
of a running chunk away for a worker that has nothing to do, is ``engine.moving``'s.)

All times are seconds. The model:

* a task costs ``cost`` wherever it runs, and ``ship`` more when it travels (encoding, copying and decoding both ways);
* a chunk costs the caller's process ``PER_CHUNK``, whatever is in it: with many workers a chunk must last long enough
  that the caller can keep all of them fed (guided self-scheduling, Polychronopoulos and Kuck 1987, with a floor);
* chunks shrink as the end comes near: none is more than a share of what is left.
"""

from __future__ import annotations

#: A chunk lasts at least about this long, so that the worker's wait for the next one does not show.
AIM = 0.020
#: The caller's process spends about this on a chunk: pack, send, wake up, receive, unpack.
PER_CHUNK = 0.000_150
#: Shrinking stops where a chunk would last less than this.
SHORTEST = 0.000_500
#: A chunk is at most one part in SHARE of what each worker has left.
SHARE = 3
#: What shipping one small task costs until it has been measured.
SHIP = 0.000_000_8
#: Going there has to save at least this part of the time: cores are rarely all ours, and caches there are cold.
GAIN = 0.2
#: A message there and the answer back, with warm workers.
ROUND_TRIP = 0.000_200
#: From nothing to workers that are ready: an interpreter has to start.
START = 0.080
#: Measurements that lasted less than this, all together, say nothing.
EVIDENCE = 0.000_050
#: Measurements that lasted as long as this are to be trusted with the rest of a small call.
ENOUGH = 0.000_060
#: The caller looks up this often while workers could be used, and this often while they could not.
LOOK = 0.001
LOOK_RARELY = 0.020
#: A chunk is at most this many bytes, unless a single task is more.
CHUNK_BYTES = 4 << 20


class Planner:
    """The plan of one call.

    Args:
        workers: how many workers there are at most.
        chunksize: the size of every chunk, if the user fixed it.
        cost: what one task took in an earlier call of the same function, seconds.

    Example:
        >>> planner = Planner(workers=2)
        >>> planner.ran_here(10, 0.010)
        >>> planner.worth_going(remaining=1_000, warm=True)
        True
        >>> planner.chunk(remaining=1_000)
        20
    """

    def __init__(self, workers: int, chunksize: int | None = None, cost: float | None = None) -> None:
        self.workers = workers
        self.chunksize = chunksize
        self.cost = cost
        self.measured = False
        self.ship = SHIP
        self.bytes_per_task = 0.0
        self.elapsed_here = 0.0
        self.evidence = 0.0
        self._weight = 0.0
        self.last_batch = 0

    # what was measured

    def ran_here(self, tasks: int, seconds: float) -> None:
        """Note that the caller ran so many tasks in so many seconds."""
        self.elapsed_here += seconds
        self._observe(tasks, seconds)

    def ran_there(self, tasks: int, busy: float, overhead: float) -> None:
        """Note that a worker ran so many tasks in ``busy`` seconds, and spent ``overhead`` seconds per task on their travel."""
        self._observe(tasks, busy)
        self.ship += (overhead - self.ship) / 4 if overhead > self.ship else (overhead - self.ship) / 16

    def packed(self, tasks: int, seconds: float, size: int) -> None:
        """Note that the caller needed so many seconds to turn so many tasks into so many bytes."""
        self.bytes_per_task = size / tasks
        # What is packed here is unpacked there, and results come back: the worker reports its own part with its results.
        if not self.measured or 2 * seconds / tasks > self.ship:
            self.ship = max(self.ship, 2 * seconds / tasks) if tasks > 1 else self.ship

    def _observe(self, tasks: int, seconds: float) -> None:
        # The newest figure counts for its number of tasks, what came before for half of its own: costs drift along an
        # input, and the first figures, of single tasks with cold caches, are mostly wrong.
        self.evidence += seconds
        self._weight = self._weight / 2 + tasks if self.measured else tasks
        cost = seconds / tasks
        self.cost = (
            cost
            if not self.measured or self.cost is None
            else self.cost + (cost - self.cost) * tasks / self._weight
        )
        self.measured = True

    # what to do

    def worth_going(self, remaining: int | None, *, warm: bool, missed: float = 0.0) -> bool:
        """Tell whether the remaining tasks are done sooner by the workers than here.

        Args:
            remaining: how many tasks are left; None when that is not known (then as much as has been done is expected).
            warm: the workers are running already.
            missed: seconds that earlier calls would have saved, had the workers been running. Starting them is like
                buying skis: rent until the rent has come to the price (Karlin et al., "Competitive snoopy caching", 1988).
        """
        if self.cost is None or self.workers < 2:
            return False
        here = self.elapsed_here * 2 if remaining is None else remaining * self.cost
        if remaining == 1 or (self.measured and self.evidence < EVIDENCE):
            return False
        saved = self._saved(here)
        return saved > GAIN * here and saved > (2 * ROUND_TRIP if warm else START / 2 - missed)

    def missed(self) -> float:
        """Return how many seconds running workers would have saved on what was done here."""
        return max(0.0, self._saved(self.elapsed_here)) if self.cost is not None else 0.0

    def _saved(self, here: float) -> float:
        """What the workers save on tasks that take so many seconds here."""
        assert self.cost is not None
        return here - here * (1 + self.ship / max(self.cost, 1e-9)) / self.workers

    def batch(self, remaining: int | None, *, going: bool) -> int:
        """Return how many tasks the caller runs before it looks again: few at first, never more than fit its patience.

        Args:
            remaining: how many tasks are left, or None.
            going: workers are starting or working, and soon want to be fed.
        """
        if self.cost is None or not self.measured:
            return 1
        patience = LOOK if going else LOOK_RARELY
        fits = int(patience / max(self.cost, 1e-9))
        if remaining is not None and remaining <= fits and self.evidence > ENOUGH:
            return remaining
        grown = 4 * self.last_batch or 4
        self.last_batch = max(1, min(fits, grown))
        return self.last_batch

    def chunk(self, remaining: int | None) -> int:
        """Return how many tasks to put into the next chunk.

        Args:
            remaining: how many tasks are left, or None.
        """
        if self.chunksize is not None:
            return self.chunksize
        if self.cost is None:
            return 1
        each = max(self.cost + self.ship, 1e-9)
        size = max(AIM, 2 * PER_CHUNK * self.workers) / each
        if not self.measured:  # only remembered: be ready for another truth
            size = min(size, max(1.0, AIM / 10 / each))
        if remaining is not None:
            size = min(size, max(remaining / (SHARE * self.workers), SHORTEST / each))
        if self.bytes_per_task:
            size = min(size, CHUNK_BYTES / self.bytes_per_task)
        return max(1, int(size))
