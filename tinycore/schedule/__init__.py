"""Kernels from graphs: create_schedule, and what it gives. Start with create.py."""

from tinycore.schedule.create import create_schedule
from tinycore.schedule.types import Schedule, ScheduledKernel

__all__ = ["Schedule", "ScheduledKernel", "create_schedule"]
