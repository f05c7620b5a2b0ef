"""A circuit breaker: after many failures in a row nobody asks for a while, then one tries first."""

from collections.abc import Callable


class Breaker:
    """Counts failures in a row; `clock` gives seconds that only ever grow.

    Closed, everything passes. After `failures_max` failures it is open for `pause_s`; then a single
    probe passes, and what comes of it closes or opens it again. A probe that never ended counts as
    failed after the same pause.
    """

    def __init__(self, clock: Callable[[], float], failures_max: int, pause_s: float) -> None:
        """Start closed."""
        self.clock, self.failures_max, self.pause_s = clock, failures_max, pause_s
        self.failures = 0
        self.closed_from = 0.0

    def admits(self) -> bool:
        """Say whether to ask now; a yes after a pause is the probe."""
        if self.failures < self.failures_max:
            return True
        now = self.clock()
        if now < self.closed_from:
            return False
        self.closed_from = now + self.pause_s
        return True

    def succeeded(self) -> None:
        """Note that the other side works."""
        self.failures = 0

    def failed(self) -> None:
        """Note that the other side did not answer, or answered an error of its own."""
        self.failures += 1
        if self.failures >= self.failures_max:
            self.closed_from = self.clock() + self.pause_s
