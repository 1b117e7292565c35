"""softmax(q k' / sqrt(width)) v (Vaswani et al. 2017, equation 1), in the form that is fastest on each platform.

On TPUs a Pallas kernel, and on GPUs cuDNN's in bfloat16, keep the weights on the chip: written out, the float32 weights of
20 s of audio are a hundred times larger than their result, and take most of a layer's time. On CPUs the written form is 1.2
to 1.6 times as fast as `jax.nn.dot_product_attention`, because the head axis precedes the frame axis and the division
follows the product.
"""

import math

import jax
import jax.numpy as jnp

from mms_jax import sharding
from mms_jax.models.layers import dropout

Array = jax.Array

SAVED = "attention"  # name of the results that recomputation of all but matrix products keeps
_BLOCKS = (512, 384, 256, 128)  # frames that the kernel takes at a time, largest first
_MOST_KEYS = 2048  # that it holds at a time
_LANES = 128


def attend(q: Array, k: Array, v: Array, mask: Array, rate: float = 0.0, key: Array | None = None) -> Array:
    """Attention over all frames of an utterance; softmax in float32.

    Args:
      q, k, v: (batch, heads, frames, width).
      mask: bool (batch, frames), True for real frames, which come first. Results of other frames are undefined.
      rate, key: of dropout on the weights, which only the written form knows; none without a key.

    Returns:
      The shape of q.
    """
    if key is not None and rate > 0.0:
        return _written(q, k, v, mask, rate, key)
    platform = sharding.platform()
    if platform == "tpu" and sharding.divides_rows(len(q)):
        return _on_tpu(q, k, v, mask)
    if platform in ("gpu", "cuda") and q.dtype == jnp.bfloat16 and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128:
        return _on_gpu(q, k, v, mask)
    return _written(q, k, v, mask)


def _written(q: Array, k: Array, v: Array, mask: Array, rate: float = 0.0, key: Array | None = None) -> Array:
    scale = 1.0 / math.sqrt(q.shape[-1])
    scores = jnp.einsum("bhtd,bhsd->bhts", q * scale, k, preferred_element_type=jnp.float32)
    # A sum: the gradient of a selection would keep its condition, as large as the scores.
    scores = scores + jnp.where(mask[:, None, None, :], 0.0, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores).max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    weights = dropout(weights, rate, key)
    y = jnp.einsum("bhts,bhsd->bhtd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (y / total).astype(v.dtype)


def _on_tpu(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """JAX's splash attention for TPUs on each device's rows and heads.

    It is flash attention (Dao et al. 2022) with one kernel for all gradients, which computes the weights once more, not
    twice.
    """
    frames = q.shape[2]
    padding = -frames % (_LANES if frames <= _MOST_KEYS else _BLOCKS[0])
    q, k, v = (jnp.pad(part, ((0, 0), (0, 0), (0, padding), (0, 0))) for part in (q, k, v))
    segments = jnp.pad(mask, ((0, 0), (0, padding))).astype(jnp.int32)
    y = sharding.rows_and_heads_apart(_splash, heads=q.shape[1])(q / math.sqrt(q.shape[-1]), k, v, segments)
    return y[:, :, :frames]


def _splash(q: Array, k: Array, v: Array, segments: Array) -> Array:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    heads, frames = q.shape[1:3]
    block = next(size for size in _BLOCKS if frames % size == 0)
    # The gradient of the queries is a sum, in memory, over blocks of keys.
    keys = frames if frames <= _MOST_KEYS else block
    sizes = kernels.BlockSizes(
        block_q=block, block_kv=keys, block_kv_compute=block, block_q_dkv=block, block_kv_dkv=keys,
        block_kv_dkv_compute=block, use_fused_bwd_kernel=True,
    )  # fmt: skip
    everything = masks.MultiHeadMask([masks.FullMask((frames, frames))] * heads)
    attention = kernels.make_splash_mha_single_device(everything, block_sizes=sizes, residual_checkpoint_name=SAVED)
    # Padded frames attend to padded frames: no softmax is over nothing.
    return jax.vmap(lambda *row: attention(*row[:3], segment_ids=kernels.SegmentIds(row[3], row[3])))(q, k, v, segments)


def _on_gpu(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """cuDNN's kernel, which takes the frame axis before the head axis, and lengths in place of a mask."""
    # A row without a frame attends to one that is padding: no softmax is over nothing.
    lengths = jnp.maximum(mask.sum(axis=-1, dtype=jnp.int32), 1)
    q, k, v = (part.transpose(0, 2, 1, 3) for part in (q, k, v))
    y = jax.nn.dot_product_attention(
        q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )
    return y.transpose(0, 2, 1, 3)
