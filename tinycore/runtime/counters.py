"""What has run and what is allocated, counted for the whole process.

In: additions by buffers and the engine. Out: plain numbers that users and benchmarks read.
"""


class Counters:
    """Running totals. Units: operations, bytes, seconds, launches; `reset` starts them anew."""

    __slots__ = ("global_mem", "global_ops", "kernel_count", "mem_used", "time_sum_s")

    def __init__(self) -> None:
        self.mem_used = 0
        self.reset()

    def reset(self) -> None:
        """Set what counts work to zero; `mem_used`, which is live, stays."""
        self.global_ops = 0
        self.global_mem = 0
        self.time_sum_s = 0.0
        self.kernel_count = 0


GlobalCounters = Counters()
"""The process's totals, as printed by DEBUG=2 and read by benchmarks."""
