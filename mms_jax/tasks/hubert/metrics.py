"""Accuracy and loss of masked prediction on held-out speech, as a table."""

from mms_jax.tasks.base import Result

FIGURES = ("accuracy", "chance", "cross_entropy")


def format_table(result: Result) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"accuracy         {100 * result['accuracy']:8.2f} %   (cluster of a masked frame)",
            f"chance           {100 * result['chance']:8.2f} %   (of guessing the most frequent cluster)",
            f"cross-entropy    {result['cross_entropy']:8.3f} nats",
        ]
    )
