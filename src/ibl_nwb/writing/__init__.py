"""Writing NWB files so that a file under its final name is always a complete one."""

from .atomic import atomic_output, check_output

__all__ = ["atomic_output", "check_output"]
