"""Realistic, invented IBL sessions for tests, documentation and demonstrations."""

from ._alyx import example_alyx_answers
from .example_session import make_example_session

__all__ = ["example_alyx_answers", "make_example_session"]
