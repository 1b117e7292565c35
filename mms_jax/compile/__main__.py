"""Whether a training step fits a machine, and how fast it is: python -m mms_jax.compile --config=NAME --topology=v5e:16x16

Compiles the step with the real compiler of the machine, which need not be here: pip install -e '.[tpu]' brings that of
TPUs. The corpora of the config need not exist either; --languages and --symbols replace them. Prints memory, FLOPs,
collectives, and an estimate of the time of a step, see `mms_jax.compile.estimate`. The exit status is 1 where the step does
not fit.

--platform=cpu compiles for the devices of this machine. --platform=cuda lowers only, since the compiler of GPUs needs one.
--search tries recomputation, meshes and accumulation, and prints a table, best first.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags, logging
from ml_collections import ConfigDict

from input_pipeline.plan import rows_of_batches
from mms_jax.compile.program import trace_step
from mms_jax.compile.report import Compiled, format_report, format_search
from mms_jax.config import current_config
from mms_jax.errors import ConfigError
from mms_jax.experiment import run_experiment
from mms_jax.hardware.chips import chip_of, tpu_devices
from mms_jax.tasks import find_task

_PLATFORM = flags.DEFINE_enum("platform", "tpu", ["tpu", "cpu", "cuda"], "for which to compile")
_TOPOLOGY = flags.DEFINE_string("topology", "", "of TPUs: CHIP:SHAPE, as in v5e:16x16")
_SLICES = flags.DEFINE_integer("slices", 1, "slices of this topology", lower_bound=1)
_LANGUAGES = flags.DEFINE_integer(
    "languages", 1, "of the corpora that the step would see", lower_bound=1, upper_bound=17_000
)
_SYMBOLS = flags.DEFINE_integer("symbols", 40, "letters of each language", lower_bound=1, upper_bound=20_000)
_SEARCH = flags.DEFINE_bool("search", False, "tries recomputation, meshes and accumulation")

REMAT = ("none", "dots", "full")


def compile_step(config: ConfigDict, devices: Sequence[Any]) -> Compiled:
    """Compiles the step of an experiment for TPUs or CPUs; what does not fit is told in the result."""
    step = trace_step(config, devices, _LANGUAGES.value, _SYMBOLS.value)
    begun = time.monotonic()
    chip = chip_of(_TOPOLOGY.value) if _PLATFORM.value == "tpu" else None
    try:
        with jax.set_mesh(step.mesh):
            compiled = step.traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled.too_large(config, step, chip, str(error))
    return Compiled.of(config, step, chip, compiled, time.monotonic() - begun)


def variants(config: ConfigDict, devices: int) -> list[ConfigDict]:
    """Experiments with the same batch, but another recomputation, mesh, or accumulation."""
    given = config.input
    rows = rows_of_batches(given.bucket_seconds, given.batch_seconds, given.batch_rows, given.rows_multiple)[-1]
    found = []
    for remat, fsdp, parts in itertools.product(REMAT, range(1, devices + 1), (1, 2, 4)):
        changed = config.copy_and_resolve_references()
        if "remat" in changed.model:
            changed.model.remat = remat
        elif remat != REMAT[0]:
            continue
        rest = devices // changed.mesh.tensor
        if rest % fsdp == 0 and fsdp & (fsdp - 1) == 0 and rows % (rest * parts) == 0:
            changed.mesh.data, changed.mesh.fsdp, changed.optimizer.accumulate = -1, fsdp, parts
            changed.input.rows_multiple, changed.input.batch_rows = rest * parts, rows
            found.append(changed)
    if not found:
        raise ConfigError(
            f"--search: {rows} rows of a batch cannot be divided among {devices} devices; set config.input.batch_seconds "
            "(or batch_rows) and rows_multiple so that the rows are a multiple of the devices"
        )
    return found


def _main(config: ConfigDict) -> int:
    config = current_config(config)
    find_task(config.task).check_config(config)
    _check_flags()
    if _PLATFORM.value == "cuda":
        return _lower_for_cuda(config)
    devices = tpu_devices(_TOPOLOGY.value, _SLICES.value) if _PLATFORM.value == "tpu" else jax.devices("cpu")
    logging.info("compiling for %d devices of kind %s", len(devices), devices[0].device_kind)
    if not _SEARCH.value:
        compiled = compile_step(config, devices)
        print(format_report(compiled))
        return 0 if compiled.fits else 1
    return _search(config, devices)


def _check_flags() -> None:
    if _PLATFORM.value == "tpu":
        if not _TOPOLOGY.value:
            raise ConfigError("--topology is missing; name the machine, as in --topology=v5e:16x16")
        return
    if _TOPOLOGY.value or _SLICES.value > 1:
        raise ConfigError(f"--topology and --slices are for TPUs; leave them out with --platform={_PLATFORM.value}")
    if _SEARCH.value and _PLATFORM.value == "cuda":
        raise ConfigError("--search compiles, and --platform=cuda only lowers; leave one of them out")


def _search(config: ConfigDict, devices: Sequence[Any]) -> int:
    """Compiles every variant; a table ends it, also where Ctrl-C does."""
    results: list[Compiled] = []
    try:
        for number, variant in enumerate(options := variants(config, len(devices)), 1):
            results.append(compile_step(variant, devices))
            print(f"{number} of {len(options)}: {results[-1].summary}", flush=True)
    finally:
        if results:
            print("\n" + format_search(results), flush=True)
    return 0 if any(result.fits for result in results) else 1


def _lower_for_cuda(config: ConfigDict) -> int:
    step = trace_step(config, jax.devices("cpu"), _LANGUAGES.value, _SYMBOLS.value)
    with jax.set_mesh(step.mesh):
        lowered = step.traced.lower(lowering_platforms=("cuda",))
    lines = len(lowered.as_text().splitlines())
    print(
        f"lowers for GPUs, with attention written out: {lines:,} lines, {step.flops:.3g} FLOPs a step, {step.rows} rows; "
        "only a GPU can compile them, and it has cuDNN's attention"
    )
    return 0


if __name__ == "__main__":
    run_experiment("mms_jax.compile", _main)
