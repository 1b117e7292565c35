"""The report of a compiled step, and the table of a search."""

import dataclasses
import re
from typing import Any, Self

from ml_collections import ConfigDict

from mms_jax.compile.estimate import Estimate, Traffic, estimate, traffic
from mms_jax.compile.hlo import Program
from mms_jax.compile.program import TracedStep
from mms_jax.hardware.chips import Chip

PAPER_HOURS = 491_000  # that MMS's encoders heard
USABLE = 0.95  # of a chip's memory


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled step.

    Attributes:
      config, step: which.
      chip: for which; None for CPUs.
      memory: bytes a chip by use, "peak" among them; empty where it does not fit.
      estimate: None where there is no chip, or it does not fit.
      traffic: collectives.
      problem: what the compiler says where it does not fit; "" where it does.
      compile_seconds: how long it took.
    """

    config: ConfigDict
    step: TracedStep
    chip: Chip | None
    memory: dict[str, float]
    estimate: Estimate | None
    traffic: list[Traffic]
    problem: str
    compile_seconds: float

    @classmethod
    def of(cls, config: ConfigDict, step: TracedStep, chip: Chip | None, compiled: Any, seconds: float) -> Self:
        """From JAX's compiled function."""
        used = compiled.memory_analysis()
        memory = {
            "arguments": used.argument_size_in_bytes,
            "results": used.output_size_in_bytes - used.alias_size_in_bytes,
            "temporaries": used.temp_size_in_bytes,
            "program": used.generated_code_size_in_bytes,
        }
        memory["peak"] = sum(memory.values())
        steps = Program(compiled.as_text()).operations()
        found = estimate(steps, chip, step.mesh) if chip else None
        flows = traffic(steps, step.mesh)
        problem = ""
        if chip and memory["peak"] > USABLE * chip.memory:
            problem = f"it takes {memory['peak'] / 1e9:.1f} GB of {chip.memory / 1e9:.0f}"
        return cls(config, step, chip, memory, found, flows, problem, seconds)

    @classmethod
    def too_large(cls, config: ConfigDict, step: TracedStep, chip: Chip | None, message: str) -> Self:
        """From the message of a compiler that found too little memory."""
        used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w)", message)
        problem = f"it takes {used[1]} of {used[2]}" if used else " ".join(message.split())[:300]
        return cls(config, step, chip, {}, None, [], problem, 0.0)

    @property
    def fits(self) -> bool:
        """Whether the memory of a chip holds it."""
        return not self.problem

    @property
    def mfu(self) -> float:
        """Model FLOPs utilization: the share of the peak that the model's own FLOPs take; 0 where it is not known."""
        if not self.estimate or not self.chip:
            return 0.0
        return self.step.flops / (self.estimate.seconds * self.chip.peak * self.step.mesh.size)

    @property
    def summary(self) -> str:
        """One line."""
        mesh = " ".join(f"{name}={size}" for name, size in self.step.mesh.shape.items())
        line = (
            f"remat {self.config.model.get('remat', 'none')}, {mesh}, accumulate {self.config.optimizer.accumulate}: "
        )
        if not self.fits:
            return line + f"does not fit: {self.problem}"
        line += f"{self.memory['peak'] / 1e9:.1f} GB a chip"
        return line + (f", {self.estimate.seconds:.3f} s, MFU {100 * self.mfu:.0f} %" if self.estimate else "")


def format_report(compiled: Compiled) -> str:
    """The report for people."""
    step, config = compiled.step, compiled.config
    lines = [
        f"{config.task}, {config.model.get('geometry', '')}, {config.compute_dtype}: {step.rows} rows of "
        f"{step.samples / 16_000:g} s on {step.mesh.size} devices",
        compiled.summary,
    ]
    if not compiled.fits:
        return "\n".join([*lines, *_advice(config)])
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in compiled.memory.items() if name != "peak")
    whole = f" of {compiled.chip.memory / 1e9:.0f}" if compiled.chip else ""
    lines.append(f"memory a chip    {compiled.memory['peak'] / 1e9:.2f} GB{whole}: {parts}")
    lines.append(f"FLOPs a step     {step.flops:.3g} of the model")
    for row in compiled.traffic:
        lines.append(
            f"collectives      {row.kind} over {row.axes or 'one device'}: {row.count:.0f}, {row.bytes / 1e9:.3g} GB"
        )
    found = compiled.estimate
    if found:
        hours = step.audio_seconds / found.seconds  # hours an hour, and seconds a second
        hosts = len({getattr(device, "process_index", 0) for device in step.mesh.devices.flat})
        repeated = found.flops * step.mesh.size / step.flops
        lines[-1 - len(compiled.traffic)] += f", {found.flops * step.mesh.size:.3g} compiled ({repeated:.2f} times)"
        lines.append(
            f"step             {found.seconds:.3f} s (alone: compute {found.compute:.3f}, memory {found.memory:.3f}, "
            f"interconnect {found.network:.3f}); MFU {100 * compiled.mfu:.0f} %"
        )
        lines.append(
            f"audio            {hours / 3600:.2f} hours a second, {hours / 3600 / hosts:.3f} for each of {hosts} hosts; "
            f"{PAPER_HOURS:,} hours once: "
            f"{PAPER_HOURS / hours / 24:.1f} days; {config.total_steps:,} updates: "
            f"{config.total_steps * found.seconds / 86_400:.1f} days"
        )
    lines.append(f"compiled in      {compiled.compile_seconds:.0f} s")
    return "\n".join(lines)


def _advice(config: ConfigDict) -> list[str]:
    advice = []
    if config.model.get("remat") in ("none", "dots"):
        advice.append("--config.model.remat=full keeps no activations of layers")
    advice.append("a larger --config.mesh.fsdp shares parameters and optimizer state among more chips")
    advice.append(
        f"--config.optimizer.accumulate={2 * config.optimizer.accumulate} computes half the rows at once, without "
        "another result; so does half of config.input.batch_seconds, with another"
    )
    return [f"  {line}" for line in advice]


def format_search(results: list[Compiled]) -> str:
    """What was tried, the fastest that fits first."""
    order = sorted(results, key=lambda one: (not one.fits, -one.mfu, one.memory.get("peak", 0.0)))
    return "\n".join(one.summary for one in order)
