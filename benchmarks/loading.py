"""Time and memory of loading a model of the published size: python -m benchmarks.loading [300m|1b]

Writes random weights of the geometry as a Hugging Face folder, loads it in a process of its own, and prints the time and
the memory that loading added at its peak, beside the size of the weights. Linux only.
"""

import pathlib
import subprocess
import sys
import tempfile

import jax
import numpy as np
from flax import nnx

from mms_jax.checkpoint import StoredModel
from mms_jax.interop.huggingface_export import save_folder
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import geometry
from mms_jax.models.wav2vec2.model import Wav2Vec2

LOAD = """
import pathlib, re, sys, time
import jax, mms_jax, mms_jax.inference.identifier, mms_jax.inference.load
jax.block_until_ready(jax.numpy.zeros(1))
# Not getrusage: its peak is inherited from the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) * 1024 / 1e9
before, begun = peak(), time.perf_counter()
model = mms_jax.load(sys.argv[1])
print(f"loaded in {time.perf_counter() - begun:.1f} s; peak memory added: {peak() - before:.2f} GB")
"""


def main() -> None:
    """Writes, loads, prints."""
    name = sys.argv[1] if len(sys.argv) > 1 else "1b"
    config = geometry(name)
    shapes = FunctionalModel.abstract(lambda key: Wav2Vec2(config, rngs=nnx.Rngs(params=key))).shapes()
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, dtype=np.float32), shapes)
    sizes = [leaf.nbytes / 1e9 for leaf in jax.tree.leaves(params)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / name
        save_folder(StoredModel(0, {"kind": "encoder", "model": config.to_json()}, {"backbone": params}), folder)
        del params
        print(f"{name}: {sum(sizes):.2f} GB of weights")
        print(subprocess.run([sys.executable, "-c", LOAD, folder], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
