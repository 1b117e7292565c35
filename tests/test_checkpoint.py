"""Checkpoints: round trips, retention, damage, a full disk."""

import errno
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax import checkpoint
from mms_jax.checkpoint import Checkpoints, load_model
from mms_jax.errors import CheckpointError

MODEL = {"kind": "recognizer", "task": "asr", "model": {"hidden": 4}, "vocabulary": {"tokens": ["<pad>", "|", "ñ"]}}


def trees(value):
    return {"layer": {"kernel": jnp.full((2, 3), value)}}, {"step": jnp.int32(value), "moments": (jnp.ones(2) * value,)}


def abstract():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), trees(0.0))


def saved(folder, *steps, **settings):
    checkpoints = Checkpoints(folder, **settings)
    for step in steps:
        checkpoints.save(step, *trees(float(step)), MODEL)
    checkpoints.wait()
    return checkpoints


def damage(folder: pathlib.Path, step: int, entry: str) -> None:
    for path in (folder / "checkpoints" / str(step) / entry).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip_gives_the_same_arrays(tmp_path):
    with_tuple = saved(tmp_path, 3)
    params, train, _ = with_tuple.restore(*abstract())
    np.testing.assert_array_equal(params["layer"]["kernel"], np.full((2, 3), 3.0))
    assert int(train["step"]) == 3 and isinstance(train["moments"], tuple)
    stored = load_model(tmp_path)
    assert stored.description == MODEL and stored.step == 3
    np.testing.assert_array_equal(stored.params["layer"]["kernel"], params["layer"]["kernel"])
    assert load_model(tmp_path / "checkpoints" / "3").description == MODEL


def test_newest_and_every_kth_are_kept(tmp_path):
    assert saved(tmp_path, 1, 2, 3, 4, 5, 6, keep=2, keep_every=3).steps == [3, 5, 6]


def test_nothing_saved_yet(tmp_path):
    assert Checkpoints(tmp_path).restore(*abstract()) is None
    with pytest.raises(CheckpointError, match="give the --workdir of a run"):
        load_model(tmp_path)


@pytest.mark.parametrize("entry", ["params", "train", "model"])
def test_damaged_newest_falls_back_and_is_moved_aside(tmp_path, entry):
    saved(tmp_path, 1, 2).close()
    damage(tmp_path, 2, entry)
    checkpoints = Checkpoints(tmp_path)
    params, train, model = checkpoints.restore(*abstract())
    assert float(params["layer"]["kernel"][0, 0]) == 1.0 and int(train["step"]) == 1 and model == MODEL
    assert (tmp_path / "damaged_checkpoint_2").is_dir()
    checkpoints.save(2, *trees(2.0), MODEL)
    checkpoints.close()
    assert float(Checkpoints(tmp_path).restore(*abstract())[0]["layer"]["kernel"][0, 0]) == 2.0


def test_inference_falls_back_too(tmp_path):
    saved(tmp_path, 1, 2).close()
    damage(tmp_path, 2, "params")
    stored = load_model(tmp_path)
    assert stored.step == 1 and float(stored.params["layer"]["kernel"][0, 0]) == 1.0


def test_all_damaged_is_an_error_that_names_them(tmp_path):
    saved(tmp_path, 1, 2).close()
    for step in (1, 2):
        damage(tmp_path, step, "params")
    with pytest.raises(CheckpointError, match="no checkpoint of this run can be read") as error:
        Checkpoints(tmp_path).restore(*abstract())
    assert str(tmp_path / "checkpoints" / "1") in str(error.value)


def test_half_written_checkpoints_do_not_count(tmp_path):
    saved(tmp_path, 1).close()
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp" / "params").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps == [1]
    checkpoints.save(3, *trees(3.0), MODEL)
    checkpoints.close()
    assert checkpoints.steps == [1, 3]
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


def test_full_disk_is_explained_and_what_stands_is_named(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 1)

    class Full:
        def result(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints._checkpointer, "save_checkpointables_async", lambda *_, **__: Full())
    checkpoints.save(2, *trees(2.0), MODEL)
    with pytest.raises(CheckpointError, match=r"the disk is full\. The checkpoint of step 1 stands.*same command"):
        checkpoints.wait()
    assert float(Checkpoints(tmp_path).restore(*abstract())[0]["layer"]["kernel"][0, 0]) == 1.0


def test_only_checkpoint_imports_orbax():
    root = pathlib.Path(checkpoint.__file__).parent
    importing = {
        path.name
        for folder in (root, root.parent / "input_pipeline")
        for path in folder.rglob("*.py")
        if "orbax"
        in "".join(line for line in path.read_text().splitlines() if line.lstrip().startswith(("import", "from")))
    }
    assert importing == {"checkpoint.py"}
