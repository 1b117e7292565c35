"""Archives of torch.save: what they hold is read, what they would do is not done."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from mms_jax.interop.torch_files import TorchFileError, read_torch


def archive(path, payload: bytes, storages=()):
    with zipfile.ZipFile(path, "w") as stored:
        stored.writestr("model/data.pkl", payload)
        for key, data in storages:
            stored.writestr(f"model/data/{key}", data)
    return path


def test_tensors_of_a_real_archive(fixture_file):
    import safetensors.numpy

    folder = fixture_file("huggingface") / "ctc_plain"
    stored = read_torch(folder / "old.bin")
    assert isinstance(stored, dict) and len(stored) > 40
    shards = [safetensors.numpy.load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    for name, expected in collections.ChainMap(*shards).items():
        old = name.replace("parametrizations.weight.original0", "weight_g")
        old = old.replace("parametrizations.weight.original1", "weight_v")
        assert stored[old].shape == expected.shape
        np.testing.assert_array_equal(stored[old].read(), expected)


class Attack:
    """Pickles as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path):
    command = f"touch {tmp_path / 'owned'}"
    path = archive(tmp_path / "a.bin", pickle.dumps({"weight": Attack(command)}))
    pickle.loads(pickle.dumps(Attack(command)))
    assert (tmp_path / "owned").exists(), "the attack works where it is let"
    (tmp_path / "owned").unlink()
    with pytest.raises(TorchFileError, match=rf"{path}: is refused: its pickle refers to .*system"):
        read_torch(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("builtins", "getattr"), ("torch.storage", "_load_from_bytes"), ("numpy", "load"),
     ("mms_jax.interop.torch_files", "read_torch"), ("functools", "partial")],
)  # fmt: skip
def test_every_other_name_is_refused(tmp_path, module, name):
    payload = f"c{module}\n{name}\n(S'1'\ntR.".encode()
    with pytest.raises(TorchFileError, match="is refused"):
        read_torch(archive(tmp_path / "a.bin", payload))


def tensor_archive(path, size, stride, offset=0, count=6, values=6):
    """One tensor, written opcode by opcode: no PyTorch needed."""
    text = (
        "ctorch._utils\n_rebuild_tensor_v2\n"
        "((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n" + f"I{count}\n" + "tQ"
        f"I{offset}\n" + numbers(size) + numbers(stride) + "I00\nNtR."
    )
    return archive(path, text.encode(), [("0", np.arange(values, dtype=np.float32).tobytes())])


def numbers(values):
    return "(" + "".join(f"I{value}\n" for value in values) + "t"


def test_strides_and_offsets(tmp_path):
    path = tensor_archive(tmp_path / "a.bin", (2, 2), (1, 2), offset=1)
    np.testing.assert_array_equal(read_torch(path).read(), [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((7,), (1,), 0), ((2, 2), (4, 4), 0), ((2,), (-1,), 3), ((1,), (1,), 6), ((2,), (1, 1), 0)],
)
def test_tensors_outside_of_their_storage_are_refused(tmp_path, size, stride, offset):
    with pytest.raises(TorchFileError, match="outside of its storage"):
        read_torch(tensor_archive(tmp_path / "a.bin", size, stride, offset))


def test_short_storages_are_named(tmp_path):
    with pytest.raises(TorchFileError, match="storage 0 has 3 of 6 values"):
        read_torch(tensor_archive(tmp_path / "a.bin", (6,), (1,), values=3)).read()


def test_inert_objects_keep_their_attributes(tmp_path):
    payload = b"\x80\x02cfairseq.data.dictionary\nDictionary\n)\x81}X\x07\x00\x00\x00symbols]X\x01\x00\x00\x00aasb."
    stored = read_torch(archive(tmp_path / "a.pt", payload))
    assert stored.symbols == ["a"] and stored.foreign == "fairseq.data.dictionary.Dictionary"


def test_other_files_are_explained(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"no archive")
    with pytest.raises(TorchFileError, match=r"a\.bin: is no archive of torch\.save"):
        read_torch(tmp_path / "a.bin")
    buffer = io.BytesIO()
    pickle.dump({"a": 1}, buffer)
    with pytest.raises(TorchFileError, match="is damaged"):
        read_torch(archive(tmp_path / "b.bin", buffer.getvalue()[:-3]))
