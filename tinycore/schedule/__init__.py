"""Kernels from graphs: create_schedule, and what it gives. Start with create.py."""

from tinycore.schedule.create import Schedule, Sinks, create_schedule
from tinycore.schedule.emit import ScheduledKernel

__all__ = ["Schedule", "ScheduledKernel", "Sinks", "create_schedule"]
