"""Accuracy and loss of contrastive prediction on held-out speech, as a table."""

from mms_jax.tasks.base import Result

# The share of masked frames whose target scored above all distractors, the share that a guess would reach, the loss in nats,
# and the codes in use (summed over codebooks, a mean over batches).
FIGURES = ("accuracy", "chance", "contrastive", "code_perplexity")


def format_table(result: Result) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"accuracy         {100 * result['accuracy']:8.2f} %   (target above all distractors)",
            f"chance           {100 * result['chance']:8.2f} %   (of a guess among the different targets of a frame)",
            f"contrastive loss {result['contrastive']:8.3f} nats",
            f"codes in use     {result['code_perplexity']:8.1f}",
        ]
    )
