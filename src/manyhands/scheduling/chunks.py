"""The planner: how many tasks travel together, and whether they travel at all. Arithmetic on numbers: no clock, no I/O.

``call`` feeds it what was measured and asks: is it worth going there (to the workers), how many tasks to run here (in the
caller) before looking again, how many to put into the next chunk; and, of a batch that runs here, whether it takes longer
than it should. (Whether to take a part of a running chunk away for a worker that has nothing to do is ``engine.moving``'s.)

All times are seconds. The model:

* a task costs ``cost`` wherever it runs, and ``ship`` more when it travels (encoding, copying and decoding both ways): one
  half of that is the worker's time, the other half the caller's, which no number of workers makes less;
* a chunk costs the caller's process ``PER_CHUNK``, whatever is in it: a chunk must last a *turn*, in which the caller gives
  one to every worker that it can keep fed, beside shipping what is in them;
* chunks shrink as the end comes near (guided self-scheduling, Polychronopoulos and Kuck 1987, with a turn for its floor).

``tests/unit/simulation.py`` runs it in virtual time.
"""

from __future__ import annotations

#: A chunk lasts at least about this long, so that the worker's wait for the next one does not show.
AIM = 0.020
#: The caller's process spends about this on a chunk: pack, send, wake up, receive, unpack.
PER_CHUNK = 0.000_150
#: A chunk of a long call lasts so many turns, so that most of the caller's time is nobody's.
TURNS = 4
#: Shrinking stops where a chunk would last less than this, or less than a turn.
SHORTEST = 0.001_500
#: A chunk is at most one part in SHARE of what each worker has left. Every chunk more is a round trip more for its worker,
#: and where one was too much after all, a part of it is moved.
SHARE = 1.5
#: What shipping one small task costs: until it has been measured, and at least.
SHIP = 0.000_000_8
#: So much of the caller's time shipping leaves for everything else, even if it could fill all of it.
ROOM = 0.1
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
#: Below this many seconds a task, taking the input in pieces would show.
CHEAP = 0.000_002
#: The caller looks up this often while workers could be used, and this often while they could not.
LOOK = 0.001
LOOK_RARELY = 0.020
#: A batch that runs here is ended when it is going to take so many times what it should.
OVERDUE = 1.5
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
        >>> planner.packed(1, 0.000_001, size=8)
        >>> planner.chunk(remaining=1_000)
        19
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
        self._packed = False
        self.last_batch = 0

    # what was measured

    def ran_here(self, tasks: int, seconds: float) -> None:
        """Note that the caller ran so many tasks in so many seconds."""
        self.elapsed_here += seconds
        self._observe(tasks, seconds)

    def ran_there(self, tasks: int, busy: float, overhead: float) -> None:
        """Note that a worker ran so many tasks in ``busy`` seconds, and spent ``overhead`` seconds per task on their travel."""
        self._observe(tasks, busy)
        ship = max(SHIP, 2 * overhead)  # what was done there was, the other way round, done here, too
        self.ship += (ship - self.ship) / 4 if ship > self.ship else (ship - self.ship) / 16

    def packed(self, tasks: int, seconds: float, size: int) -> None:
        """Note that the caller needed so many seconds to turn so many tasks into so many bytes."""
        self._packed = True
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
        each = self.cost + self.ship
        tasks = here / max(self.cost, 1e-9)
        # All of them together are no quicker than that, nor than the caller ships, and a single chunk is one worker's.
        whole = tasks * each
        return here - max(whole / self.workers, tasks * self.ship / 2, min(whole, self._shortest(whole)))

    def _load(self) -> float:
        """How much of the caller's time shipping would fill if all workers were at work; more than 1: they can't be."""
        return self.workers * self.ship / 2 / max((self.cost or 0.0) + self.ship, 1e-9)

    def _fed(self) -> float:
        """How many workers the caller can keep at work."""
        return self.workers / max(1.0, self._load())

    def _turn(self) -> float:
        """In how many seconds the caller gives a chunk to each of these, in the time that shipping leaves."""
        return PER_CHUNK * self._fed() / max(ROOM, 1 - self._load())

    def _shortest(self, whole: float) -> float:
        """How many seconds a chunk lasts at least, if what is left takes one worker so many.

        In a short call the end counts for more than the caller's time: n chunks cost it n * PER_CHUNK, and the last of them
        lasts whole / n; the sum is least where the two are equal.
        """
        return max(SHORTEST, min(self._turn(), float((PER_CHUNK * whole) ** 0.5)))

    def worth_feeding(self, remaining: int | None, stuck: float) -> bool:
        """Tell whether to give tasks to the workers because the caller has been stuck in a task for so long.

        What is known of the cost may say that they do not pay; but that is what it said of the task that does not end, too.
        No more is lost on shipping them than has been lost on that one.

        Args:
            remaining: how many tasks are left, or None.
            stuck: seconds.
        """
        if not self.measured or remaining is None or self.worth_going(remaining, warm=True):
            return True
        return remaining * self.ship / 2 <= stuck

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
        if remaining is not None:
            if going:  # workers can be had for what turns out to be slow, if it is not in this batch
                fits = min(fits, remaining // self.workers)
            elif remaining <= fits and self.evidence > ENOUGH and self.cost < CHEAP:
                return remaining
        grown = 4 * self.last_batch or 4
        self.last_batch = max(1, min(fits, grown))
        return self.last_batch

    def look_again(self, begun: int, tasks: int, elapsed: float, expected: float) -> float:
        """Return how many seconds to wait before looking again at a batch that runs here; 0: end it, and plan anew.

        Costs that grow along the input begin by looking small; a batch that was planned with them can be most of the call.

        Args:
            begun: tasks of the batch that were begun.
            tasks: tasks of the batch.
            elapsed: seconds since it began.
            expected: seconds that it should take.

        Example:
            >>> planner = Planner(workers=2)
            >>> planner.look_again(begun=51, tasks=100, elapsed=0.010, expected=0.020)
            0.005
            >>> planner.look_again(begun=11, tasks=100, elapsed=0.010, expected=0.020)
            0.0
        """
        if elapsed < LOOK:
            return LOOK
        whole = elapsed * tasks / max(begun - 1, 0.5)
        return 0.0 if whole > OVERDUE * expected + LOOK else max(LOOK, (whole - elapsed) / 2)

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
        size = max(AIM, TURNS * self._turn()) / each
        if not (self.measured and self._packed):  # only remembered, or a guess: be ready for another truth
            size = min(size, max(1.0, AIM / 10 / each))
        if remaining is not None:
            # As long as little has been measured, the cost is that of the first few tasks, which may be the least of all.
            hands = self._fed() if self.evidence > AIM else min(self.workers, 4 * self._fed())
            size = min(size, max(remaining / (SHARE * hands), self._shortest(remaining * each) / each))
        if self.bytes_per_task:
            size = min(size, CHUNK_BYTES / self.bytes_per_task)
        return max(1, int(size))
