"""The losses of wav2vec 2.0 pretraining (Baevski et al. 2020, section 3.2), as sums and weights."""

import jax
import jax.numpy as jnp

from mms_jax.tasks.weighted import Weighted

Array = jax.Array


def sample_negatives(key: Array, valid: Array, count: int) -> Array:
    """Draws distractors uniformly from the other masked frames of the same utterance, with replacement.

    Args:
      key: randomness.
      valid: bool (batch, masked), True for the first n entries of a row, its masked frames.
      count: distractors for each frame (100 in the paper).

    Returns:
      int32 (batch, masked, count), positions along `masked`, never the frame's own. Rows with fewer than two masked
      frames have no distractors; their positions are meaningless, and `contrastive_loss` gives the frame no weight.
    """
    batch, masked = valid.shape
    others = jnp.sum(valid, axis=1) - 1
    draw = jax.random.randint(key, (batch, masked, count), 0, jnp.maximum(others, 1)[:, None, None])
    own = jnp.arange(masked)[None, :, None]
    return jnp.minimum(draw + (draw >= own), masked - 1)


def counted_frames(valid: Array) -> Array:
    """The masked frames with a weight, bool (batch, masked): one that is alone in its row has no distractors."""
    return valid & (jnp.sum(valid, axis=1, keepdims=True) > 1)


def contrastive_loss(
    predicted: Array, target: Array, codes: Array, negatives: Array, valid: Array, temperature: float
) -> tuple[Weighted, Weighted]:
    """InfoNCE over cosine similarities, equation 3.

    All similarities within an utterance are one matrix product, from which the distractors are picked: the vectors of
    the distractors are never gathered.

    Args:
      predicted, target: float32 (batch, masked, projected).
      codes: int (batch, masked, codebooks); a distractor with the positive's codes is the positive, and gets -inf.
      negatives: int (batch, masked, count), positions along `masked`.
      valid: bool (batch, masked).
      temperature: divides the cosines (0.1).

    Returns:
      The loss, summed over masked frames; and the accuracy, the share of frames whose positive scored above
      every distractor.
    """
    similarity = jnp.einsum("bmd,bnd->bmn", _unit(predicted), _unit(target)) / temperature
    positive = jnp.diagonal(similarity, axis1=1, axis2=2)
    negative = jnp.take_along_axis(similarity, negatives, axis=2)
    duplicate = jnp.take_along_axis(_equal_codes(codes), negatives, axis=2)
    negative = jnp.where(duplicate, -jnp.inf, negative)

    logits = jnp.concatenate([positive[:, :, None], negative], axis=2)
    frame_loss = jax.nn.logsumexp(logits, axis=2) - positive
    counted = counted_frames(valid)
    weight = jnp.sum(counted).astype(jnp.float32)
    correct = jnp.max(negative, axis=2) < positive
    return (
        Weighted(jnp.sum(jnp.where(counted, frame_loss, 0.0)), weight),
        Weighted(jnp.sum(counted & correct).astype(jnp.float32), weight),
    )


def chance_accuracy(codes: Array, negatives: Array, valid: Array) -> Weighted:
    """The accuracy of a guess: the mean of 1 / (1 + d), for d different targets among a frame's distractors.

    Distractors are drawn with replacement, frames with equal codes have equal targets, and those with the frame's own
    codes are excluded. Therefore d is far below the number of distractors where few codes are in use.

    Args:
      codes: int (batch, masked, codebooks).
      negatives: int (batch, masked, count), positions along `masked`.
      valid: bool (batch, masked).
    """
    # A target is named by the first frame of the row that has it.
    identity = jnp.argmax(_equal_codes(codes), axis=2)
    drawn = jax.vmap(lambda names, positions: names[positions])(identity, negatives)
    ordered = jnp.sort(jnp.where(drawn == identity[:, :, None], -1, drawn), axis=2)
    new = jnp.diff(ordered, axis=2, prepend=-1) > 0
    different = jnp.sum(new, axis=2)
    counted = counted_frames(valid)
    return Weighted(jnp.sum(jnp.where(counted, 1.0 / (1.0 + different), 0.0)), jnp.sum(counted).astype(jnp.float32))


def code_totals(logits: Array, valid: Array) -> tuple[Array, Array]:
    """The sum over masked frames of the softmax, without temperature or noise, and the number of these frames.

    Args:
      logits: float32 (batch, masked, codebooks, codes).
      valid: bool (batch, masked).

    Returns:
      float32 (codebooks, codes) and ().
    """
    probabilities = jnp.where(valid[:, :, None, None], jax.nn.softmax(logits, axis=-1), 0.0)
    return jnp.sum(probabilities, axis=(0, 1)), jnp.sum(valid).astype(jnp.float32)


def code_perplexity(probabilities: Array, frames: Array) -> Array:
    """The number of codes in use, summed over codebooks: between `codebooks` and `codebooks * codes`.

    The exponential of the entropy of the mean softmax over masked frames; the arguments are from `code_totals`.
    """
    mean = probabilities / jnp.maximum(frames, 1.0)
    return jnp.sum(jnp.exp(-jnp.sum(mean * jnp.log(mean + 1e-7), axis=-1)))


def diversity_loss(probabilities: Array, frames: Array) -> Array:
    """(codebooks * codes - perplexity) / (codebooks * codes); equation 4 as in fairseq."""
    return (probabilities.size - code_perplexity(probabilities, frames)) / probabilities.size


def feature_penalty(extracted: Array, frame_mask: Array) -> Weighted:
    """Mean square of the extractor's output, summed over real frames.

    Args:
      extracted: (batch, frames, channels), before the feature norm.
      frame_mask: bool (batch, frames).
    """
    energy = jnp.mean(extracted.astype(jnp.float32) ** 2, axis=-1)
    return Weighted(jnp.sum(jnp.where(frame_mask, energy, 0.0)), jnp.sum(frame_mask).astype(jnp.float32))


def _equal_codes(codes: Array) -> Array:
    """bool (batch, masked, masked): whether two frames have the same codes, (batch, masked, codebooks)."""
    return jnp.all(codes[:, :, None, :] == codes[:, None, :, :], axis=-1)


def _unit(x: Array) -> Array:
    """Unit length along the last axis; PyTorch's cosine similarity clamps the norm at 1e-8."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=-1, keepdims=True), 1e-16))
