"""Reads the original ICT-FaceKit folder: one OBJ per shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import AvatarError

NEUTRAL = "generic_neutral_mesh.obj"


def read_obj_vertices(path: Path) -> np.ndarray:
    """(V, 3) float64 positions of an OBJ file, in file order.

    Raises:
        AvatarError: ``bad_input`` when the file has none or a line is damaged.
    """
    return read_obj(path, with_faces=False)[0]


def read_obj(path: Path, with_faces: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions (V, 3), texture coordinates (T, 2), faces (F, 4) and texture indices (F, 4), -1 padding triangles.

    Raises:
        AvatarError: ``bad_input`` when the file is missing, damaged or has faces with more than four corners.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces: list[list[int]] = []
    faces_uv: list[list[int]] = []
    number = 0
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007  (named in the error below)
                if line.startswith("v "):
                    vertices.append([float(word) for word in line.split()[1:4]])
                elif with_faces and line.startswith("vt "):
                    uv.append([float(word) for word in line.split()[1:3]])
                elif with_faces and line.startswith("f "):
                    corners = [word.split("/") for word in line.split()[1:]]
                    if not 3 <= len(corners) <= 4:
                        raise ValueError(f"a face with {len(corners)} corners")
                    faces.append(([int(corner[0]) - 1 for corner in corners] + [-1])[:4])
                    faces_uv.append(([int(corner[1]) - 1 if len(corner) > 1 and corner[1] else 0 for corner in corners] + [-1])[:4])
        arrays = np.array(vertices, np.float64).reshape(-1, 3), np.array(uv, np.float64).reshape(-1, 2)
    except FileNotFoundError as error:
        raise AvatarError("bad_input", f"{path} is missing.", "Point to the complete ICT-FaceKit folder.", {"path": str(path)}) from error
    except (ValueError, OSError) as error:
        raise AvatarError(
            "bad_input", f"{path}, line {number}, cannot be read: {error}.", "Download the model again.", {"path": str(path), "line": number}
        ) from error
    if not len(arrays[0]):
        raise AvatarError("bad_input", f"{path} holds no vertices.", "Download the model again.", {"path": str(path)})
    return *arrays, np.array(faces, np.int32).reshape(-1, 4), np.array(faces_uv, np.int32).reshape(-1, 4)


def read_ict_folder(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the packed model (``rig.ict.load_ict``) out of the original folder, in its own centimetres.

    Raises:
        AvatarError: ``bad_input`` when the folder is not ICT-FaceKit or a file is damaged.
    """
    folder = Path(folder)
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    if not (folder / NEUTRAL).is_file():
        raise AvatarError(
            "bad_input", f"{folder} is not the ICT-FaceKit model: {NEUTRAL} not found.", "Point to the folder that holds FaceXModel.", {"path": str(folder)}
        )
    neutral, uv, faces, faces_uv = read_obj(folder / NEUTRAL)
    shapes = sorted(path for path in folder.glob("*.obj") if path.name != NEUTRAL)
    identity = [path for path in shapes if path.stem.startswith("identity")]
    expression = [path for path in shapes if not path.stem.startswith("identity")]
    if not identity or not expression:
        raise AvatarError("bad_input", f"{folder} holds no identity or no expression shapes.", "Download the model again.", {"path": str(folder)})

    def offsets(path: Path) -> np.ndarray:
        vertices = read_obj_vertices(path)
        if vertices.shape != neutral.shape:
            raise AvatarError(
                "bad_input", f"{path} has {len(vertices)} vertices, {NEUTRAL} has {len(neutral)}.", "Download the model again.", {"path": str(path)}
            )
        return (vertices - neutral).astype(np.float32)

    return {
        "neutral": neutral, "uv": uv, "faces": faces, "faces_uv": faces_uv,
        "identity": np.stack([offsets(path) for path in identity]), "expression": np.stack([offsets(path) for path in expression]),
        "expression_names": np.array([path.stem for path in expression]),
    }
