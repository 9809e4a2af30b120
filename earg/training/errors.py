"""What a training function is told when it asks for something that cannot be."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says what was wrong, and what to do."""
