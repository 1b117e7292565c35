"""The step of a config on machines that are not here: counts, texts of compilers, estimates, the command."""

import dataclasses
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax.compile.estimate import estimate, traffic
from mms_jax.compile.hlo import Array, Program
from mms_jax.compile.program import trace_step
from mms_jax.compile.stand_ins import stand_in_corpus
from mms_jax.config import default_config
from mms_jax.errors import ConfigError
from mms_jax.hardware.chips import CHIPS, Chip, chip_of, tpu_devices
from mms_jax.hardware.flops import count_flops, pairs_along

# As the compiler of TPUs writes them: a loop whose length only its condition knows; an array on the chip, S(1); a product as
# a convolution; groups of devices by mesh axes; a fusion that gathers while it multiplies, and takes a layer of a stack.
TPU_TEXT = """HloModule jit_step, is_scheduled=true

%gathering (param_0: bf16[3,8,128], param_1: s32[], param_2: bf16[16,256]) -> bf16[16,128] {
  %param_0 = bf16[3,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1 = s32[]{:T(128)} parameter(1)
  %param_2 = bf16[16,256]{1,0:T(8,128)} parameter(2)
  %slice.1 = bf16[1,8,128]{2,1,0} dynamic-slice(%param_0, %param_1), dynamic_slice_sizes={1,8,128}
  %bitcast.1 = bf16[8,128]{1,0} bitcast(%slice.1)
  %all-gather.1 = bf16[256,128]{1,0} all-gather(%bitcast.1), GROUPS, dimensions={0}
  ROOT %convolution.1 = bf16[16,128]{1,0} convolution(%param_2, %all-gather.1), dim_labels=bf_io->bf
}

%starting (param_3: bf16[3,8,128], param_4: s32[]) -> (bf16[8,128], bf16[256,128]) {
  %param_3 = bf16[3,8,128]{2,1,0} parameter(0)
  %param_4 = s32[]{:T(128)} parameter(1)
  %slice.2 = bf16[1,8,128]{2,1,0} dynamic-slice(%param_3, %param_4), dynamic_slice_sizes={1,8,128}
  %bitcast.2 = bf16[8,128]{1,0} bitcast(%slice.2)
  %all-gather.2 = bf16[256,128]{1,0} all-gather(%bitcast.2), GROUPS, dimensions={0}
  ROOT %tuple.3 = (bf16[8,128], bf16[256,128]) tuple(%bitcast.2, %all-gather.2)
}

%body (arg: (s32[], bf16[3,8,128], bf16[16,256])) -> (s32[], bf16[3,8,128], bf16[16,256]) {
  %arg = (s32[]{:T(128)}, bf16[3,8,128]{2,1,0}, bf16[16,256]{1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%arg), index=0
  %stack = bf16[3,8,128]{2,1,0} get-tuple-element(%arg), index=1
  %x = bf16[16,256]{1,0} get-tuple-element(%arg), index=2
  %async-collective-start = (bf16[8,128]{1,0}, bf16[256,128]{1,0:S(1)}) fusion(%stack, %i), kind=kCustom, calls=%starting
  %fusion.1 = bf16[16,128]{1,0:T(8,128)S(1)} fusion(%stack, %i, %x), kind=kOutput, calls=%gathering
  %two = bf16[16,256]{1,0} concatenate(%fusion.1, %fusion.1), dimensions={1}
  ROOT %tuple.1 = (s32[], bf16[3,8,128], bf16[16,256]) tuple(%i, %stack, %two)
}

%condition (arg.1: (s32[], bf16[3,8,128], bf16[16,256])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(3)
  %arg.1 = (s32[], bf16[3,8,128]{2,1,0}, bf16[16,256]{1,0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %constant.1), direction=LT
}

ENTRY %main (p0: s32[], p1: bf16[3,8,128], p2: bf16[16,256]) -> (s32[], bf16[3,8,128], bf16[16,256]) {
  %p0 = s32[]{:T(128)} parameter(0)
  %p1 = bf16[3,8,128]{2,1,0} parameter(1)
  %p2 = bf16[16,256]{1,0} parameter(2)
  %tuple.2 = (s32[], bf16[3,8,128], bf16[16,256]) tuple(%p0, %p1, %p2)
  ROOT %while.1 = (s32[], bf16[3,8,128]{2,1,0}, bf16[16,256]{1,0}) while(%tuple.2), condition=%condition, body=%body
}
""".replace("GROUPS", "replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}")


def eight_devices(devices=None):
    """A mesh, as far as estimates need one."""
    array = np.asarray(devices or [types.SimpleNamespace(slice_index=0)] * 8, object).reshape(4, 2)
    return types.SimpleNamespace(axis_names=("data", "fsdp"), shape={"data": 4, "fsdp": 2}, size=8, devices=array)


def jaxpr_of(function, *shapes):
    return jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes))


def test_products_are_counted_through_loops_branches_and_gradients():
    def layers(x, w):
        y, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=7)
        return jax.lax.cond(y.sum() > 0, lambda y: (y @ w).sum(), lambda y: y.sum(), y)

    one = 2 * 8 * 16 * 16
    assert count_flops(jaxpr_of(layers, (8, 16), (16, 16))) == 8 * one
    # The first product needs no gradient of its input in the loop's first turn, but the loop computes it.
    assert count_flops(jaxpr_of(jax.grad(layers, argnums=1), (8, 16), (16, 16))) == pytest.approx(3 * 8 * one, rel=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (2,), "padding": [(1, 1)]},
        {"window_strides": (1,), "padding": [(5, 4)], "rhs_dilation": (3,)},
        {"window_strides": (1,), "padding": [(2, 2)], "lhs_dilation": (3,)},
    ],
)
def test_convolutions_are_counted_as_the_compiler_counts_them(options):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=("NWC", "WIO", "NWC"), **options)

    shapes = ((2, 23, 4), (3, 4, 6))
    compiled = jax.jit(convolve).lower(*map(jnp.zeros, shapes)).compile()
    expected = compiled.cost_analysis()["flops"]
    assert count_flops(jaxpr_of(convolve, *shapes)) == expected
    ours = [step.flops for step in Program(compiled.as_text()).operations()]
    assert sum(ours) in (expected, 0.0)  # 0 where this machine's compiler calls a library


def test_a_batched_product_that_is_written_as_a_convolution_has_no_padding():
    assert pairs_along(inputs=64, taps=64, outputs=64, low=63, tap_dilation=1) == 64 * 65 // 2
    assert pairs_along(inputs=5, taps=5, outputs=5, low=4, stride=1) < 25


def test_the_text_of_a_compiled_loop_counts_as_the_function():
    def layers(x, w):
        y, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)
        return y

    shapes = ((8, 64), (5, 64, 64))
    compiled = jax.jit(layers).lower(*map(jnp.zeros, shapes)).compile()
    steps = Program(compiled.as_text()).operations()
    assert (
        sum(step.times * step.flops for step in steps) == count_flops(jaxpr_of(layers, *shapes)) == 5 * 2 * 8 * 64 * 64
    )


def test_what_the_compiler_of_tpus_writes_is_read():
    program = Program(TPU_TEXT)
    start, fusion, concatenate = program.operations()
    assert program.entry == "main" and fusion.times == concatenate.times == 3
    assert fusion.flops == fusion.padded == 2 * 16 * 256 * 128
    # Of the stack one layer is read, of the input all; the result stays on the chip.
    assert fusion.bytes == 2 * (8 * 128 + 16 * 256) + 4
    assert concatenate.bytes == 2 * 16 * 256
    assert start.collective == "all-gather" and start.sent == 2 * 256 * 128 and start.overlaps
    assert start.groups == (0, 2, 4, 6)
    # The fusion that multiplies carries on what has been started before: it is not sent again.
    assert not fusion.collective and fusion.sent == 0


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("replica_groups={{0,2},{1,3}}", (0, 2)),
        ("replica_groups=[2,4]<=[8]", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("replica_groups=mesh['x'=2,'y'=4] {'x'}", (0, 4)),
    ],
)
def test_groups_of_devices_in_every_spelling(text, group):
    line = f"  ROOT %r = f32[8]{{0}} all-reduce(%p), channel_id=1, {text}, use_global_device_ids=true, to_apply=%add"
    (step,) = Program(
        f"ENTRY %main (p: f32[8]) -> f32[8] {{\n  %p = f32[8]{{0}} parameter(0)\n{line}\n}}\n"
    ).operations()
    assert step.groups == group and step.collective == "all-reduce" and not step.overlaps and step.sent == 32


def test_narrow_operands_leave_parts_of_a_matrix_unit_idle():
    text = (
        "ENTRY %main (a: bf16[8,10], b: bf16[10,512]) -> bf16[8,512] {\n  %a = bf16[8,10]{1,0} parameter(0)\n"
        "  %b = bf16[10,512]{1,0} parameter(1)\n"
        "  ROOT %d = bf16[8,512]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}\n}\n"
    )
    (step,) = Program(text).operations()
    assert step.flops == 2 * 8 * 10 * 512 and step.padded == 2 * 8 * 128 * 512


@pytest.mark.parametrize(("kernel", "products"), [("splash_mha_fwd_segmented_residuals", 2),
                                                  ("splash_mha_dkv_segmented_no_residuals", 5)])  # fmt: skip
def test_kernels_of_attention_count_their_products(kernel, products):
    """Heads of 64 take as long as those of 128, which fill the matrix units. The first operand describes the mask."""
    text = f"""ENTRY %main (m: s8[1,2,1], q: bf16[8,16,1024,64], k: bf16[8,16,512,64]) -> bf16[8,16,1024,64] {{
  %m = s8[1,2,1]{{2,1,0}} parameter(0)
  %q = bf16[8,16,1024,64]{{3,2,1,0}} parameter(1)
  %k = bf16[8,16,512,64]{{3,2,1,0}} parameter(2)
  ROOT %{kernel}.1 = bf16[8,16,1024,64]{{3,2,1,0}} custom-call(%m, %q, %k), custom_call_target="tpu_custom_call"
}}
"""
    (step,) = Program(text).operations()
    assert step.flops == 2 * products * 8 * 16 * 1024 * 512 * 64 and step.padded == 2 * step.flops


def test_bytes_of_arrays():
    assert Array("bf16", (3, 4), False).bytes == 24 and Array("f32", (), False).bytes == 4
    assert Array("pred", (8,), False).bytes == 8 and Array("s4", (8,), False).bytes == 4
    assert Array("f8e4m3fn", (8,), False).bytes == 8 and Array("token", (), False).bytes == 0


def test_the_time_of_a_step_by_hand():
    """Peak, bandwidth and link are such that each part of the fixture has a round time."""
    steps = Program(TPU_TEXT).operations()
    mesh = eight_devices()
    chip = Chip(peak=2 * 16 * 256 * 128, memory=1e9, bandwidth=2 * 16 * 256 / 4, link=1.0, network=1.0, closed=4)
    slow = estimate(steps, dataclasses.replace(chip, link=2 * 256 * 128 / 2), mesh)
    # Three turns of a second of arithmetic and four seconds of concatenation; gathering takes 3/4 s a turn, beside.
    assert slow.compute == 3 and slow.network == pytest.approx(3 * 3 / 4)
    fusion_memory = (2 * (8 * 128 + 16 * 256) + 4) / chip.bandwidth
    start_memory = (2 * 2 * 8 * 128 + 4) / chip.bandwidth  # a layer is read, and handed on
    assert slow.seconds == pytest.approx(3 * (start_memory + max(1, fusion_memory) + 4))
    assert estimate(steps, dataclasses.replace(chip, link=1.0), mesh).seconds > 1000


def test_what_spans_slices_goes_over_the_network():
    steps = Program(TPU_TEXT).operations()
    chip = Chip(peak=1e12, memory=1e9, bandwidth=1e12, link=1e6, network=1.0, closed=4)
    assert estimate(steps, chip, eight_devices()).seconds < 1
    devices = [types.SimpleNamespace(slice_index=number // 4) for number in range(8)]
    sent = 3 * 2 * 256 * 128 * 3 / 4
    assert estimate(steps, chip, eight_devices(devices)).seconds == pytest.approx(sent)


# An exchange between two slices, as the compiler of TPUs writes it.
BETWEEN_SLICES = """HloModule jit_f, is_scheduled=true

ENTRY %main (param: bf16[4096,8,128]) -> bf16[4096,8,128] {
  %param = bf16[4096,8,128]{2,1,0} parameter(0)
  %after-all = token[] after-all()
  %send = (bf16[4096,8,128]{2,1,0}, u32[], token[]) send(%param, %after-all), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_reduce_operation="SUM",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv = (bf16[4096,8,128]{2,1,0}, u32[], token[]) recv(%after-all), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done = token[] send-done(%send), channel_id=2, is_host_transfer=true
  %recv-done = (bf16[4096,8,128]{2,1,0}, token[]) recv-done(%recv), channel_id=1, is_host_transfer=true
  ROOT %out = bf16[4096,8,128]{2,1,0} get-tuple-element(%recv-done), index=0
}
"""  # noqa: E501


def test_a_line_of_chips_has_one_direction_and_a_closed_ring_two():
    chip = Chip(peak=1e12, memory=1e9, bandwidth=1e12, link=1e6, network=1.0, closed=4)
    text = (
        "ENTRY %main (a: f32[100]) -> f32[400] {\n  %a = f32[100]{0} parameter(0)\n"
        "  ROOT %g = f32[400]{0} all-gather(%a), replica_groups={GROUP}, dimensions={0}\n}\n"
    )
    devices = [types.SimpleNamespace(coords=(number % 4, number // 4, 0)) for number in range(8)]
    mesh = types.SimpleNamespace(devices=np.asarray(devices).reshape(2, 4), size=8)
    seconds = 1600 * 3 / 4 / 1e6
    for group, directions in (("{0,1,2,3}", 2), ("{0,1,4,5}", 2), ("{0,1}", 1), ("{0,4}", 1)):
        devices_of_group = group.count(",") + 1
        found = estimate(Program(text.replace("GROUP", group)).operations(), chip, mesh).seconds
        wanted = seconds * (devices_of_group - 1) / devices_of_group / (3 / 4) / directions
        assert found == pytest.approx(wanted, rel=0.01), group


def test_exchanges_between_slices_are_counted():
    chip = Chip(peak=1e15, memory=1e9, bandwidth=1e15, link=1e15, network=4096 * 1024 * 2.0, closed=4)
    devices = [types.SimpleNamespace(slice_index=number // 4) for number in range(8)]
    mesh = types.SimpleNamespace(devices=np.asarray(devices).reshape(2, 4), size=8)
    steps = Program(BETWEEN_SLICES).operations()
    (row,) = traffic(steps, mesh)
    assert (row.kind, row.axes, row.bytes) == ("all-reduce", "slices", 4096 * 1024 * 2)
    assert estimate(steps, chip, mesh).seconds == pytest.approx(1.0)  # half is sent, and half of the sums


def test_collectives_are_told_by_mesh_axes():
    (row,) = traffic(Program(TPU_TEXT).operations(), eight_devices())
    assert row.kind == "all-gather" and row.axes == "data" and row.count == 3 and row.bytes == 3 * 2 * 256 * 128


@pytest.mark.parametrize("topology", ["", "v5e", "v5e:", "v9:2x2", "v5e:2", "v5e:axb", "h100:2x2"])
def test_machines_that_there_are_not(topology):
    with pytest.raises(ConfigError, match="write CHIP:SHAPE"):
        chip_of(topology)
    with pytest.raises(ConfigError):
        tpu_devices(topology or "none", 1)


def test_every_chip_has_its_figures():
    assert all(min(dataclasses.astuple(chip)) > 0 for chip in CHIPS.values())


def miniature_config(task):
    config = default_config(task)
    config.input.bucket_seconds, config.input.batch_seconds, config.input.rows_multiple = (1.0,), 8.0, 8
    if task != "tts":
        config.model.geometry = "miniature"
    return config


@pytest.mark.parametrize("task", ["asr", "lid", "pretrain"])
def test_the_step_of_every_task_is_traced_without_data(task):
    config = miniature_config(task)
    step = trace_step(config, jax.devices()[:1], languages=5, symbols=7)
    assert (step.rows, step.samples, step.audio_seconds) == (8, 16_000, 8.0)
    compiled = step.traced.lower().compile()
    ours = sum(one.times * one.flops for one in Program(compiled.as_text()).operations())
    assert step.flops > 1e6 and ours <= 1.05 * step.flops  # libraries that the CPU's compiler calls are not read


def test_recomputation_changes_what_is_executed_and_not_the_models_flops():
    plain, full = (miniature_config("pretrain") for _ in range(2))
    full.model.remat = "full"
    one, other = (trace_step(config, jax.devices()[:1], 1, 7) for config in (plain, full))
    assert one.flops == other.flops
    assert count_flops(other.traced.jaxpr) > count_flops(one.traced.jaxpr)


def test_a_stand_in_corpus_fills_the_longest_bucket():
    config = miniature_config("asr")
    index = stand_in_corpus(config.input, languages=20, symbols=7).index
    assert len(index.languages) == 20 == len(index) and (index.seconds == 1.0).all()
    assert all(len(letters) == 7 for letters in index.alphabets.values())


def test_a_search_keeps_the_batch():
    from mms_jax.compile.__main__ import variants

    config = miniature_config("asr")
    config.input.batch_seconds, config.input.rows_multiple = 96.0, 48
    found = variants(config, 48)
    assert {one.mesh.fsdp for one in found} == {1, 2, 4, 8, 16} and {one.optimizer.accumulate for one in found} == {
        1,
        2,
    }
    assert {one.model.remat for one in found} == {"none", "dots", "full"}
    assert all(96 % one.input.rows_multiple == 0 for one in found)
    with pytest.raises(ConfigError, match="96 rows of a batch cannot be divided among 64 devices"):
        variants(config, 64)


def run(*arguments):
    command = [sys.executable, "-m", "mms_jax.compile", "--config=pretrain_phrases", *arguments]
    one_device = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=one_device)


@pytest.mark.slow
def test_the_command_reports_on_cpus():
    found = run("--platform=cpu", "--config.input.batch_seconds=4")
    assert found.returncode == 0, found.stderr
    assert "memory a chip" in found.stdout and "FLOPs a step" in found.stdout


@pytest.mark.slow
def test_the_command_lowers_for_gpus():
    found = run("--platform=cuda", "--config.input.batch_seconds=4")
    assert found.returncode == 0 and "lowers for GPUs" in found.stdout, found.stderr


def test_mistakes_of_the_command_are_named():
    assert "--topology is missing" in run().stderr
    wrong = run("--topology=v5e:2x2", "--config.mesh.fsdp=3")
    assert wrong.returncode == 2 or wrong.returncode == 1
    assert "error: " in wrong.stderr and "Traceback" not in wrong.stderr
