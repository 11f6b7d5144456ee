"""When a task that has failed is worth another try, and after how long a wait.

Plain arithmetic on what the options say; ``scheduling.call`` and ``engine.submissions`` ask it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from manyhands.options import Options

#: No wait is longer than so many seconds.
LONGEST = 60.0


class Retries:
    """How often a failed task is tried again, for which exceptions, and how long to wait before.

    Args:
        times: how many times more.
        kinds: the exceptions that are worth it.
        backoff: seconds before the first retry; twice as many before each further one.

    Example:
        >>> retries = Retries(2, (OSError,), backoff=1.0)
        >>> retries.worth(OSError(), attempts=2), retries.worth(OSError(), attempts=3), retries.worth(KeyError(), attempts=1)
        (True, False, False)
        >>> 2.0 <= retries.wait(attempts=3) <= 6.0
        True

    Source:
        Jitter: M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """

    __slots__ = ("backoff", "kinds", "times")

    def __init__(
        self, times: int, kinds: type[BaseException] | tuple[type[BaseException], ...] = Exception, backoff: float = 0.1
    ) -> None:  # fmt: skip
        self.times = times
        self.kinds = kinds
        self.backoff = backoff

    def worth(self, error: BaseException, attempts: int) -> bool:
        """Tell whether to try again.

        Args:
            error: what came of the last attempt.
            attempts: how many there were.
        """
        return attempts <= self.times and isinstance(error, self.kinds)

    def wait(self, attempts: int) -> float:
        """Return how many seconds to wait before the next attempt, give or take half of it, at random.

        Those who have failed together should not come back together. The random numbers are not those of ``random``'s own
        generator, whose state is the caller's.

        Args:
            attempts: how many there were.
        """
        if not self.backoff:
            return 0.0
        from random import SystemRandom

        return float(min(LONGEST, self.backoff * 2 ** (attempts - 1)) * SystemRandom().uniform(0.5, 1.5))


def of(options: Options) -> Retries | None:
    """Return what the options of a function say about retries; None: there are none.

    Args:
        options: the options.
    """
    return Retries(options.retries, options.retry_on, options.backoff) if options.retries else None
