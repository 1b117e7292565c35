"""Reads a compiled program: its operations, how often each runs, and what it computes, reads, writes and sends."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from mms_jax.hardware.flops import pairs_along

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "token": 0}
LANES = 128  # rows and columns of a TPU's matrix unit (256 on v6e)
# Kernels of `jax.experimental.pallas.ops.tpu.splash_attention`, and how often each multiplies frames by frames.
_KERNELS = {"splash_mha_fwd": 2, "splash_mha_dkv": 5}
# Times that a matrix unit runs for the bits of float32.
_PASSES = {"high": 3, "highest": 6}
_STARTING, _ENDING = "async-collective-start", "async-collective-done"
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
# Instructions that move no data.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
         "opt-barrier", "iota"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Array:
    """The type of an array; `fast` ones lie in the memory on the chip, beside the units that compute."""

    kind: str
    shape: tuple[int, ...]
    fast: bool

    @property
    def bytes(self) -> float:
        """Its size."""
        bits = _BITS.get(self.kind) or int(re.sub(r"\D", "", self.kind.split("e")[0]) or 0)
        return math.prod(self.shape) * bits / 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
      name, opcode: of it.
      arrays: its result; several, where it is a tuple.
      operands: names.
      text: the line behind the operands: its attributes.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str

    def attribute(self, name: str) -> str:
        """The value of `name=...`, up to the next comma outside of braces; "" where there is none."""
        match = re.search(rf"\b{name}=(\{{[^{{}}]*(?:\{{[^{{}}]*\}}[^{{}}]*)*\}}|[^,\s]+)", self.text)
        return match[1] if match else ""

    @property
    def called(self) -> tuple[str, ...]:
        """The computations that it runs."""
        return tuple(re.findall(r"(?:calls|to_apply|body|condition|branch_computations)=\{?%?([\w.-]+)", self.text))


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction that runs as a unit, and what it costs each time.

    Attributes:
      instruction: the line.
      times: how often it runs.
      flops: products and sums.
      padded: the same, where every row of a matrix unit works, see LANES.
      bytes: read from and written to memory.
      sent: bytes of the arrays of a collective, gathered; 0 for others.
      collective: its kind; "" for others.
      groups: devices that exchange data, by position in the mesh; () for none.
      overlaps: whether it runs beside others.
      between_slices: whether it exchanges data with the same chips of the other slices, over the network.
    """

    instruction: Instruction
    times: float
    flops: float
    padded: float
    bytes: float
    sent: float = 0.0
    collective: str = ""
    groups: tuple[int, ...] = ()
    overlaps: bool = False
    between_slices: bool = False


class Program:
    """The text of a compiled program."""

    def __init__(self, text: str):
        """Reads it.

        Args:
          text: of `Compiled.as_text()`.
        """
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current: Computation = {}
        for line in text.splitlines():
            if header := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
                current = self.computations.setdefault(header[2], {})
                self.entry = header[2] if header[1] else self.entry
            elif instruction := _read(line):
                current[instruction.name] = instruction

    def operations(self) -> list[Operation]:
        """What runs, in order; a loop's body as often as the compiler knows that it runs."""
        return list(self._walk(self.entry, 1.0))

    def _walk(self, name: str, times: float) -> Iterator[Operation]:
        computation = self.computations[name]
        for instruction in computation.values():
            if instruction.opcode == "while":
                yield from self._walk(instruction.attribute("body").lstrip("%"), times * self._trips(instruction))
            elif instruction.opcode == "conditional":
                branches = re.findall(r"%?([\w.-]+)", instruction.attribute("branch_computations").strip("{}"))
                branches = branches or list(instruction.called)
                alternatives = [list(self._walk(branch, times)) for branch in branches]
                yield from max(alternatives, key=lambda steps: sum(step.flops + step.bytes for step in steps))
            elif instruction.opcode == "call":
                yield from self._walk(instruction.attribute("to_apply").lstrip("%"), times)
            elif instruction.opcode not in _FREE and not instruction.opcode.endswith("-done"):
                yield self._operation(instruction, computation, times)

    def _trips(self, loop: Instruction) -> float:
        """How often a loop runs: as noted by the compiler, or the constant with which its condition compares."""
        if match := re.search(r'"known_trip_count":\s*\{"n":\s*"(\d+)"', loop.text):
            return float(match[1])
        condition = self.computations[loop.attribute("condition").lstrip("%")]
        root = list(condition.values())[-1]
        limits = [condition[name].text for name in root.operands if condition[name].opcode == "constant"]
        return float(limits[0]) if root.opcode == "compare" and limits else 1.0

    def _operation(self, instruction: Instruction, computation: Computation, times: float) -> Operation:
        parts = list(self._with_place(instruction, computation))
        flops, padded = np.sum([_flops(*part) for part in parts], axis=0).tolist()
        plain = Operation(instruction, times, flops, padded, self._bytes(instruction, computation))
        if exchanged := _exchange(instruction):
            sent = sum(array.bytes for name in instruction.operands for array in computation[name].arrays)
            return dataclasses.replace(plain, sent=sent, collective=exchanged, overlaps=True, between_slices=True)
        # The compiler of TPUs starts a gathering in a fusion of its own, carries it on in those of products, and ends it
        # in another: it counts once.
        carried_on = instruction.opcode == "fusion" and (flops > 0 or instruction.name.startswith(_ENDING))
        collectives = [part for part in parts if _collective(part[0])]
        if carried_on or not collectives:
            return plain
        chosen, place = max(collectives, key=lambda part: sum(array.bytes for array in part[0].arrays))
        given = sum(array.bytes for name in chosen.operands for array in place[name].arrays)
        results = sum(array.bytes for array in chosen.arrays)
        if chosen.opcode.endswith("-start"):
            results -= given  # which a start returns too
        scattered = any(name.startswith("all-reduce-scatter") for name in instruction.called)
        return dataclasses.replace(
            plain,
            sent=max(given, results),
            collective="reduce-scatter" if scattered else _collective(chosen),
            groups=_first_group(chosen),
            overlaps=instruction.opcode.endswith("-start") or instruction.name.startswith(_STARTING),
        )

    def _with_place(
        self, instruction: Instruction, computation: Computation
    ) -> Iterator[tuple[Instruction, Computation]]:
        """An instruction and all that it calls, each with its computation; functions of reductions are left out."""
        yield instruction, computation
        if instruction.opcode in ("fusion", "async-start", "custom-call"):
            for name in instruction.called:
                for one in self.computations.get(name, {}).values():
                    yield from self._with_place(one, self.computations[name])

    def _bytes(self, instruction: Instruction, computation: Computation) -> float:
        """What an instruction moves; of an array of which it needs a slice, as of stacked layers, the slice."""
        body = self.computations.get((instruction.called or ("",))[0], {}) if instruction.opcode == "fusion" else {}
        if instruction.opcode in ("copy-start", "slice-start"):  # (source, target, ...)
            return instruction.arrays[1].bytes * (1 if instruction.arrays[1].fast else 2)
        if instruction.opcode in ("dynamic-slice", "gather", "slice"):
            return 2 * sum(_slow(array) for array in instruction.arrays)
        if instruction.opcode == "dynamic-update-slice":
            return 2 * sum(map(_slow, computation[instruction.operands[1]].arrays))
        whole = [sum(map(_slow, computation[name].arrays)) for name in instruction.operands if name in computation]
        if not body:
            return sum(whole) + sum(map(_slow, instruction.arrays))
        names = [_parameters(body, [place]) for place in range(len(whole))]
        read = sum(min(size, sum(self._read_of(body, one) for one in name)) for size, name in zip(whole, names))
        return read + self._written_of(body, instruction.arrays)

    def _read_of(self, body: Computation, name: str) -> float:
        """The bytes of a value that the instructions of a fusion read; infinite where they need all of it."""
        read = 0.0
        for user in body.values():
            if name not in user.operands or user.opcode == "tuple":  # handing it on is no use
                continue
            if user.opcode in ("bitcast", "get-tuple-element"):
                read += self._read_of(body, user.name)
            elif user.opcode in ("dynamic-slice", "gather"):
                read += sum(array.bytes for array in user.arrays)
            elif user.opcode == "fusion":
                inner = self.computations[user.called[0]]
                places = [place for place, operand in enumerate(user.operands) if operand == name]
                read += sum(self._read_of(inner, parameter) for parameter in _parameters(inner, places))
            elif user.opcode != "dynamic-update-slice":  # which changes the array in place
                return math.inf
        return read

    def _written_of(self, body: Computation, arrays: Sequence[Array]) -> float:
        """The bytes that a fusion writes: an array that is changed in place is written where it changes."""
        root = list(body.values())[-1]
        results = [body[name] for name in root.operands] if root.opcode == "tuple" else [root]
        written = 0.0
        for result, array in zip(results, arrays):
            while result.opcode == "bitcast":
                result = body[result.operands[0]]
            if result.opcode == "dynamic-update-slice":
                written += min(_slow(array), sum(one.bytes for one in body[result.operands[1]].arrays))
            elif result.opcode == "fusion":
                written += min(_slow(array), self._written_of(self.computations[result.called[0]], [array]))
            elif result.opcode != "parameter":
                written += _slow(array)
        return written


def _slow(array: Array) -> float:
    return 0.0 if array.fast else array.bytes


def _parameters(body: Computation, places: Sequence[int]) -> list[str]:
    return [one.name for one in body.values() if one.opcode == "parameter" and int(one.text) in places]


_ARRAY = re.compile(r"([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](\{[^}]*\})?")


def _read(line: str) -> Instruction | None:
    match = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (.*)$", line)
    if not match:
        return None
    name, rest = match[1], match[2]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opcode, _, rest = rest.partition("(")
    end = _closing("(" + rest, 0) - 1
    inside, text = rest[:end], rest[end + 1 :]
    arrays = tuple(
        Array(found[1], tuple(int(size) for size in found[2].split(",") if size), "S(1)" in (found[3] or ""))
        for found in _ARRAY.finditer(kind)
    )
    operands = tuple(re.findall(r"%([\w.-]+)", inside))
    return Instruction(name, opcode, arrays, operands, inside if opcode in ("parameter", "constant") else text)


def _closing(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text) - 1


def _exchange(instruction: Instruction) -> str:
    """The kind of an exchange between slices, which the compiler of TPUs writes as a sending and a receiving; or ""."""
    kind = (
        re.search(r'_xla_megascale_transfer_type="(\w+)"', instruction.text) if instruction.opcode == "send" else None
    )
    name = kind[1].lower().replace("_", "-") if kind else ""
    return name if name in COLLECTIVES else ""


def _collective(instruction: Instruction) -> str:
    name = instruction.opcode.removesuffix("-start")
    return name if name in COLLECTIVES else ""


def _numbers(shape: str, order: str | None) -> np.ndarray:
    """The numbers from 0 on, in an array of a shape, "2,4", whose axes are then put in another order, "1,0"."""
    sizes = [int(size) for size in shape.split(",")]
    ids = np.arange(math.prod(sizes)).reshape(sizes)
    return ids.transpose([int(axis) for axis in order.split(",")]) if order else ids


@functools.lru_cache(maxsize=1000)
def _groups_of(text: str) -> tuple[int, ...]:
    """The first group of `replica_groups`.

    Three ways of writing it are read: {{0,1},{2,3}}; [2,2]<=[2,2]T(1,0); and mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0))
    {'a'}.
    """
    if text.startswith("mesh"):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", text)}
        order = re.search(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)", text)
        ids = _numbers(order[1], order[2]) if order else np.arange(math.prod(axes.values()))
        exchanging = re.findall(r"'(\w+)'", text.rpartition("{")[2])
        chosen = tuple(slice(None) if name in exchanging else 0 for name in axes)
        return tuple(int(value) for value in ids.reshape(list(axes.values()))[chosen].ravel())
    if match := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape = [int(size) for size in match[1].split(",")]
        return tuple(int(value) for value in _numbers(match[2], match[3]).reshape(shape)[0].ravel())
    first = re.search(r"\{([\d,]+)\}", text)
    return tuple(int(value) for value in first[1].split(",")) if first else ()


def _first_group(instruction: Instruction) -> tuple[int, ...]:
    if pairs := instruction.attribute("source_target_pairs"):
        found = [int(value) for value in re.findall(r"\d+", pairs)]
        return tuple(found[:2])
    match = re.search(
        r"replica_groups=(\{\{.*?\}\}|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?|mesh\[.*?\{[^}]*\})", instruction.text
    )
    return _groups_of(match[1]) if match else ()


def _flops(instruction: Instruction, computation: Computation) -> tuple[float, float]:
    """Products and sums; and those of matrix units of LANES rows and columns, of which narrow operands leave some idle."""
    if instruction.opcode in ("dot", "convolution"):
        left, right = (computation[name].arrays[0].shape for name in instruction.operands[:2])
        counted = _dot_flops if instruction.opcode == "dot" else _convolution_flops
        flops, padded = counted(instruction, left, right)
        precision = instruction.attribute("operand_precision").strip("{}").split(",")[0]
        return flops, padded * _PASSES.get(precision, 1)
    for name, products in _KERNELS.items():
        if "tpu_custom_call" in instruction.text and instruction.name.startswith(name):
            shapes = (computation[operand].arrays[0].shape for operand in instruction.operands)
            q, k, *_ = (shape for shape in shapes if len(shape) == 4)  # the others describe the mask
            flops = 2.0 * products * math.prod(q) * k[-2]
            return flops, flops * _full(q[-1]) / q[-1]
    return 0.0, 0.0


def _full(size: int) -> int:
    return -(-size // LANES) * LANES


def _dot_flops(instruction: Instruction, left: Sequence[int], right: Sequence[int]) -> tuple[float, float]:
    def sizes(name: str, shape: Sequence[int]) -> int:
        return math.prod(shape[int(axis)] for axis in re.findall(r"\d+", instruction.attribute(name)))

    inner, shared = sizes("lhs_contracting_dims", left), sizes("rhs_batch_dims", right)
    features = max(1, math.prod(right) // (inner * shared))
    flops = 2.0 * math.prod(instruction.arrays[0].shape) * inner
    return flops, flops * _full(inner) / inner * _full(features) / features


def _convolution_flops(instruction: Instruction, left: Sequence[int], right: Sequence[int]) -> tuple[float, float]:
    """Those of real inputs: compilers write batched products as convolutions over padding."""
    numbers = re.match(r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels"))
    assert numbers is not None
    out = instruction.arrays[0].shape
    window = instruction.attribute("window").strip("{}")
    options = {key: values.split("x") for key, values in re.findall(r"(\w+)=([\dx_-]+)", window)}
    spatial = sorted(set(numbers[1]) - set("bf"))
    pairs = 1.0
    for place, axis in enumerate(spatial):

        def option(name: str, default: str, place: int = place) -> str:
            return options[name][place] if name in options else default

        pairs *= pairs_along(
            inputs=left[numbers[1].index(axis)],
            taps=right[numbers[2].index(axis)],
            outputs=out[numbers[3].index(axis)],
            stride=int(option("stride", "1")),
            low=int(option("pad", "0_0").split("_")[0]),
            input_dilation=int(option("lhs_dilate", "1")),
            tap_dilation=int(option("rhs_dilate", "1")),
        )
    batch, features = out[numbers[3].index("b")], out[numbers[3].index("f")]
    inner = right[numbers[2].index("i")]
    flops = 2.0 * batch * features * inner * pairs
    # A kernel as long as its input, as of a gradient of weights, is multiplied along its length.
    taps = math.prod(right[numbers[2].index(axis)] for axis in spatial)
    inner *= taps if taps > LANES else 1
    return flops, flops * _full(inner) / inner * _full(features) / features
