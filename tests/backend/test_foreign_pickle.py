"""A model file is data: whatever it tries to run is refused by name and has not run."""

from __future__ import annotations

import codecs
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from backend.errors import AvatarError
from backend.rig.foreign_pickle import ForeignObject, array_from, read_foreign_pickle


class Calls:
    """Pickles to a call of ``function(*arguments)``."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(content)
    return path


def refusal(folder: Path, content: bytes) -> AvatarError:
    with pytest.raises(AvatarError) as caught:
        read_foreign_pickle(written(folder, content))
    assert caught.value.code == "bad_input"
    return caught.value


@pytest.mark.parametrize("protocol", range(6))
def test_running_a_shell_command_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    import os

    witness = tmp_path / "ran"
    error = refusal(tmp_path, pickle.dumps({"v_template": Calls(os.system, f"touch {witness}")}, protocol))
    assert error.detail["refused"] in ("posix.system", "nt.system")
    assert error.detail["refused"] in error.message
    assert not witness.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, compile])
def test_builtins_that_reach_further_are_refused(tmp_path: Path, function: Any) -> None:
    error = refusal(tmp_path, pickle.dumps(Calls(function, "1"), 2))
    # Protocol 2 names builtins the way Python 2 did.
    assert error.detail["refused"].rsplit(".", 1)[1] == function.__name__


def global_line(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    parts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return parts + b"\x93"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x80\x04" + stack_global("builtins", "eval") + b"\x8c\x011\x85R.", "builtins.eval"),
        # a dotted name walks from something harmless to something else
        (b"\x80\x04" + stack_global("numpy", "ndarray.__class__") + b".", "numpy.ndarray.__class__"),
        (b"\x80\x04" + stack_global("chumpy.ch", "Ch.__init__.__globals__") + b".", "chumpy.ch.Ch.__init__.__globals__"),
        (b"\x80\x04" + stack_global("collections", "OrderedDict.__reduce__") + b".", "collections.OrderedDict.__reduce__"),
        # an old-style instance
        (b"(ios\nsystem\n.", "os.system"),
        # names that only look as if they belonged to chumpy, numpy or scipy
        (global_line("chumpyx", "Ch") + b".", "chumpyx.Ch"),
        (global_line("numpy", "load") + b".", "numpy.load"),
        (global_line("numpy.testing._private.utils", "runstring") + b".", "numpy.testing._private.utils.runstring"),
        (global_line("scipy.sparse", "load_npz") + b".", "scipy.sparse.load_npz"),
        (global_line("functools", "partial") + b".", "functools.partial"),
        # a persistent id and an unused extension code ask the reader for an object of its own
        (b"Pmine\n.", "persistent object 'mine'"),
    ],
)
def test_other_ways_to_a_global_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    assert refusal(tmp_path, content).detail["refused"] == name


def test_a_foreign_call_inside_a_chumpy_node_is_refused(tmp_path: Path) -> None:
    # chumpy.ch.Ch built with the result of os.system in its state
    content = global_line("chumpy.ch", "Ch") + b")\x81}(S'x'\n" + global_line("os", "system") + b"(S'true'\ntRub."
    assert refusal(tmp_path, b"\x80\x02" + content).detail["refused"] == "os.system"


def test_a_chumpy_name_is_only_a_stand_in(tmp_path: Path) -> None:
    # even a chumpy name that would be dangerous, called with arguments, gives an object that does nothing
    content = b"\x80\x02" + global_line("chumpy.utils", "os") + b"S'rm'\n\x85R."
    value = read_foreign_pickle(written(tmp_path, content))
    assert isinstance(value, ForeignObject) and value.arguments == ("rm",)
    with pytest.raises(ValueError, match="chumpy.utils.os"):
        array_from(value, "v_template")


def test_reconstruct_only_makes_plain_arrays(tmp_path: Path) -> None:
    for kind in (global_line("chumpy.ch", "Ch"), global_line("builtins", "set"), b"N"):
        content = b"\x80\x02" + global_line("numpy.core.multiarray", "_reconstruct") + kind + b"K\x00\x85S'b'\n\x87R."
        error = refusal(tmp_path, content)
        assert "_reconstruct" in error.message
    content = b"\x80\x02" + global_line("copy_reg", "_reconstructor") + global_line("collections", "OrderedDict") + b"NN\x87R."
    assert "_reconstructor" in refusal(tmp_path, content).message


def test_byte_strings_may_only_be_encoded_as_latin1(tmp_path: Path) -> None:
    content = b"\x80\x02" + global_line("_codecs", "encode") + b"X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    assert "rot13" in refusal(tmp_path, content).message
    assert read_foreign_pickle(written(tmp_path, pickle.dumps({"a": b"\xff\x00"}, 2))) == {"a": codecs.encode("\xff\x00", "latin1")}


def test_state_set_on_a_class_does_not_outlive_the_file(tmp_path: Path) -> None:
    # BUILD on the class itself, not on an instance
    content = b"\x80\x02" + global_line("chumpy.ch", "Ch") + b"}S'state'\nS'mine'\nsb."
    refusal(tmp_path, content)
    clean = read_foreign_pickle(written(tmp_path, b"\x80\x02" + global_line("chumpy.ch", "Ch") + b")\x81."))
    assert clean.state is None


@pytest.mark.parametrize(
    "content", [b"", b"no pickle at all", b"\x80\x04", pickle.dumps(list(range(100)))[:-20], b"\x80\x02r\xff\xff\xff\x7f.", b"0."]
)
def test_damaged_files_are_typed_errors(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AvatarError) as caught:
        read_foreign_pickle(tmp_path / "none.pkl")
    assert caught.value.code == "asset_missing"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float64).reshape(2, 3, 4), np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), np.array([[2**32 - 1, 0]], np.uint32),
        np.arange(3, dtype=">i4"), np.zeros((0, 3)), np.array(True), np.array(1.5),
    ],
)
def test_arrays_come_back_equal(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    value = array_from(read_foreign_pickle(written(tmp_path, pickle.dumps({"a": array}, protocol)))["a"])
    assert value.shape == array.shape and value.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(value, array)


@pytest.mark.parametrize("kind", [sp.csc_matrix, sp.csr_matrix, sp.coo_matrix])
def test_sparse_matrices_become_dense(tmp_path: Path, kind: Any) -> None:
    dense = np.zeros((5, 40))
    dense[[0, 1, 4, 4], [3, 39, 0, 7]] = [0.5, 0.25, 1, -2]
    value = array_from(read_foreign_pickle(written(tmp_path, pickle.dumps(kind(dense), 2))))
    assert np.array_equal(value, dense)


def test_sparse_indices_outside_the_matrix_are_refused(tmp_path: Path) -> None:
    matrix = sp.csc_matrix(np.eye(4))
    matrix.indices = matrix.indices + 1000
    value = read_foreign_pickle(written(tmp_path, pickle.dumps(matrix, 2)))
    with pytest.raises(ValueError):
        array_from(value)


def test_arrays_of_objects_or_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    value = read_foreign_pickle(written(tmp_path, pickle.dumps(np.array([{}, None], dtype=object), 2)))
    with pytest.raises(ValueError, match="not of numbers"):
        array_from(value)
    content = pickle.dumps(np.arange(4, dtype=np.int32), 2)
    # claim a million elements for sixteen bytes
    claimed = content.replace(b"K\x04\x85", b"J" + struct.pack("<i", 1_000_000) + b"\x85")
    assert claimed != content
    with pytest.raises(ValueError, match="another size"):
        array_from(read_foreign_pickle(written(tmp_path, claimed)))


def test_python_2_pickles_are_understood(tmp_path: Path) -> None:
    # what Python 2 wrote: protocol 0 text, byte strings, copy_reg
    out = io.BytesIO()
    out.write(b"(dS'weights'\n" + global_line("numpy.core.multiarray", "_reconstruct") + b"(" + global_line("numpy", "ndarray"))
    out.write(b"(I0\ntS'b'\ntR(I1\n(I2\nt" + global_line("numpy", "dtype") + b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb")
    out.write(b"I00\nS" + repr(struct.pack("<2d", 0.5, -3.0))[1:].encode() + b"\ntbs.")
    value = read_foreign_pickle(written(tmp_path, out.getvalue()))
    assert np.array_equal(array_from(value["weights"]), [0.5, -3.0])
