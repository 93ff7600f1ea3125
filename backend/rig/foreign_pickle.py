"""Reads arrays out of a pickle that somebody else wrote, without letting it run anything.

A pickle is a program. Here every class it may name is replaced by an inert stand-in that only remembers what it was
given, and the few helper functions (numpy's reconstruction, the codec for byte strings) are replaced by our own.
Nothing of numpy, scipy or chumpy runs while the file is read; a name outside the list ends the reading. Afterwards
``array_from`` turns the stand-ins of plain arrays, sparse matrices and chumpy nodes into arrays.

What a pickled array looks like: the reduce protocol of ``numpy.ndarray``, ``numpy.dtype`` and ``scipy.sparse``.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AvatarError

MAX_BYTES = 2 << 30
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_SPARSE = ("csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array")
_SPARSE_MODULES = ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse.csr", "scipy.sparse.coo", "scipy.sparse._csc", "scipy.sparse._csr", "scipy.sparse._coo")
_BUILTINS = ("builtins", "__builtin__")


class ForeignObject:
    """What the file says about one object: its class's name, its constructor's arguments and its state. Does nothing."""

    __slots__ = ("arguments", "state")
    qualified_name = "object"

    def __new__(cls, *arguments: Any, **named: Any) -> "ForeignObject":
        self = super().__new__(cls)
        self.arguments, self.state = (*arguments, *named.items()), None
        return self

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Everything was kept by ``__new__``."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<{self.qualified_name} as found in a file>"


class RefusedGlobal(pickle.UnpicklingError):
    """The file names something outside the list. ``name`` is ``module.attribute``."""

    def __init__(self, name: str):
        super().__init__(f"refused: {name}")
        self.name = name


class _InertUnpickler(pickle.Unpickler):
    """Knows no class of this process, only stand-ins made for this one file (so that nothing a file does to one outlives it)."""

    def __init__(self, handle: Any):
        super().__init__(handle, encoding="latin1")
        self._stand_ins: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if "." in name:  # a dotted name would walk from an allowed thing to its attributes
            raise RefusedGlobal(f"{module}.{name}")
        helper = self._helper(module, name)
        if helper is not None:
            return helper
        if _is_inert_class(module, name):
            qualified = f"{module}.{name}"
            if qualified not in self._stand_ins:
                self._stand_ins[qualified] = type(name, (ForeignObject,), {"__slots__": (), "qualified_name": qualified})
            return self._stand_ins[qualified]
        raise RefusedGlobal(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedGlobal(f"persistent object {pid!r}")

    def _helper(self, module: str, name: str) -> Callable[..., Any] | None:
        if module in _ARRAY_MODULES and name == "_reconstruct":
            return self._reconstruct
        if module in _ARRAY_MODULES and name == "scalar":
            return _scalar
        if module in _NUMERIC_MODULES and name == "_frombuffer":
            return _from_buffer
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _bare_instance
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if module in _BUILTINS and name == "bytes":
            return _empty_bytes
        if module in _BUILTINS and name in ("set", "frozenset"):
            return set if name == "set" else frozenset
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        return None

    def _reconstruct(self, kind: Any, *_: Any) -> ForeignObject:
        """numpy's maker of an empty array: only of ``numpy.ndarray`` itself, its content follows as state."""
        if kind is None or kind is not self._stand_ins.get("numpy.ndarray"):
            raise RefusedGlobal(f"numpy.core.multiarray._reconstruct of {getattr(kind, 'qualified_name', kind)!s}")
        made: ForeignObject = kind()
        return made


def _is_inert_class(module: str, name: str) -> bool:
    return (
        (module == "numpy" and name in ("ndarray", "dtype"))
        or (module in _SPARSE_MODULES and name in _SPARSE)
        or (module in _BUILTINS and name == "object")
        or module == "chumpy" or module.startswith("chumpy.")
    )


def _bare_instance(kind: Any, base: Any, state: Any) -> ForeignObject:
    """Python 2's way of making an object of a class without calling its constructor."""
    if not (isinstance(kind, type) and issubclass(kind, ForeignObject)):
        raise RefusedGlobal(f"copy_reg._reconstructor of {kind!r}")
    return kind()


def _encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes byte strings."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedGlobal(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How protocol 2 writes a byte string without content."""
    return b""


def _scalar(kind: Any, content: Any = b"") -> Any:
    return _plain_array((), kind, content, False)[()]


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """Protocol 5's array with its bytes beside it."""
    return _plain_array(shape, kind, content, order == "F")


def read_foreign_pickle(path: Path) -> Any:
    """What a pickle holds, with stand-ins for every class.

    Raises:
        AvatarError: ``bad_input`` when the file names anything outside the list (the message says what), is no pickle,
            is damaged or larger than 2 GiB; ``asset_missing`` when it is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise AvatarError("asset_missing", f"{path} does not exist.", "Point to the file you downloaded.", {"path": str(path)})
    if path.stat().st_size > MAX_BYTES:
        raise AvatarError("bad_input", f"{path} is larger than any head model.", "Point to the model file.", {"path": str(path)})
    try:
        with open(path, "rb") as handle:
            return _InertUnpickler(handle).load()
    except RefusedGlobal as error:
        raise AvatarError(
            "bad_input", f"{path} tries to load {error.name}, which no head model needs. It was not run.",
            "Do not open this file with other programs; get the model from its authors.", {"path": str(path), "refused": error.name},
        ) from error
    except (
        pickle.UnpicklingError, ValueError, TypeError, AttributeError, EOFError, IndexError, KeyError, ImportError, OverflowError, MemoryError,
        RecursionError, OSError,
    ) as error:
        raise AvatarError(
            "bad_input", f"{path} is not a readable model file ({type(error).__name__}: {error}).", "Download the model again.", {"path": str(path)}
        ) from error


def array_from(value: Any, name: str = "value") -> np.ndarray:
    """The array a stand-in describes: plain array, sparse matrix (made dense) or chumpy node.

    Raises:
        ValueError: it describes something else, or its sizes do not fit.
    """
    return _array_from(value, name, 8)


def _array_from(value: Any, name: str, depth: int) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (int, float, list, tuple)) and not isinstance(value, bool):
        plain = np.asarray(value)
        if plain.dtype.kind in "iuf":
            return plain
    if not isinstance(value, ForeignObject) or depth == 0:
        raise ValueError(f"{name} is a {type(value).__name__}, not an array")
    kind, state = value.qualified_name, value.state
    if kind == "numpy.ndarray":
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError(f"{name}: an array without content")
        shape, dtype, is_fortran, content = state[-4:]
        return _plain_array(shape, dtype, content, bool(is_fortran))
    if kind.startswith("scipy.sparse") and isinstance(state, dict):
        return _dense(kind, {key: state[key] for key in state}, name, depth)
    if kind.startswith("chumpy") and isinstance(state, dict):
        if "x" in state:
            return _array_from(state["x"], name, depth - 1)
        if "a" in state and "idxs" in state:  # a selection out of another node
            source = _array_from(state["a"], name, depth - 1).ravel()
            chosen = source[_array_from(state["idxs"], name, depth - 1).astype(np.int64).ravel()]
            shape = state.get("preferred_shape")
            return chosen.reshape(shape) if shape else chosen
    raise ValueError(f"{name} is a {kind}, which holds no array we know")


def _dtype_from(kind: Any) -> np.dtype:
    """A number type from its stand-in: code and byte order."""
    if isinstance(kind, np.dtype):
        return kind
    code = kind.arguments[0] if isinstance(kind, ForeignObject) and kind.qualified_name == "numpy.dtype" and kind.arguments else None
    if not isinstance(code, str) or len(code) > 4 or code.lstrip("<>=|")[:1] not in tuple("biufc"):
        raise ValueError(f"an array of {code!r}, not of numbers")
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 and kind.state[1] in ("<", ">") else "="
    return np.dtype(code).newbyteorder(order)


def _plain_array(shape: Any, kind: Any, content: Any, is_fortran: bool) -> np.ndarray:
    dtype = _dtype_from(kind)
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content) if isinstance(content, (bytes, bytearray)) else None
    sizes = tuple(int(size) for size in shape) if isinstance(shape, (tuple, list)) else (int(shape),)
    count = 1
    for size in sizes:
        count *= size
    if raw is None or any(size < 0 for size in sizes) or count * dtype.itemsize != len(raw):
        raise ValueError(f"an array of shape {sizes} and type {dtype} whose content has another size")
    flat = np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))
    return flat.reshape(sizes, order="F" if is_fortran else "C")


def _dense(kind: str, state: dict[str, Any], name: str, depth: int) -> np.ndarray:
    import scipy.sparse as sp

    shape = tuple(int(size) for size in state.get("_shape", state.get("shape", ())))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > 1 << 26:
        raise ValueError(f"{name}: a sparse matrix of shape {shape}")
    parts = {key: _array_from(state[key], name, depth - 1) for key in ("data", "indices", "indptr", "row", "col") if key in state}
    maker = {"csc": sp.csc_matrix, "csr": sp.csr_matrix, "coo": sp.coo_matrix}[kind.rsplit(".", 1)[1][:3]]
    if maker is sp.coo_matrix:
        row, column = (parts["row"], parts["col"]) if "row" in parts else [_array_from(part, name, depth - 1) for part in state["coords"]]
        matrix = sp.coo_matrix((parts["data"], (row, column)), shape=shape)
    else:
        matrix = maker((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
    return np.asarray(matrix.toarray())
