"""The operators around an avatar give the same data as the functions beneath them; from the light build too."""

import json
import sys

import pytest
from addon_zip import ROOT, run_in_blender
from procedural_rig import procedural_rig
from synthetic_take import write_take

sys.path.insert(0, str(ROOT))
import build  # noqa: E402

DESCRIBE = """
def describe(prefix):
    found = {}
    for kind in ("objects", "meshes", "armatures", "actions", "materials", "images", "cameras", "collections"):
        found[kind] = sorted(d.name.replace(prefix, "NAME") for d in getattr(bpy.data, kind) if d.name.startswith(prefix))
    head = next(ob for ob in bpy.data.objects if ob.name.startswith(prefix) and ob.type == "MESH" and ob.data.shape_keys)
    found["vertices"] = [round(x, 6) for v in list(head.data.vertices)[:50] for x in v.co]
    found["keys"] = [key.name for key in head.data.shape_keys.key_blocks]
    return found
"""


@pytest.fixture(scope="module")
def light_zip(tmp_path_factory):
    return build.build(tmp_path_factory.mktemp("dist"), is_light=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_take(tmp_path_factory.mktemp("take") / "Anna.avatar", procedural_rig(), name="Anna", fps=30000 / 1001)


def test_the_operators_equal_the_functions(light_zip, package, tmp_path):
    script = DESCRIBE + f"""
folder = {str(package)!r}
install({str(light_zip)!r})
RESULT["answer"] = list(bpy.ops.video_avatar.import_avatar(filepath=folder + "/avatar.json", match="NEVER"))
RESULT["operator"] = describe("Anna")
RESULT["deliver"] = module("panels.deliver").VIDEO_AVATAR_PT_deliver.poll(bpy.context)
RESULT["fps before"] = bpy.context.scene.render.fps
RESULT["match"] = [list(bpy.ops.video_avatar.match_scene()), bpy.context.scene.render.fps, round(bpy.context.scene.render.fps_base, 4), bpy.context.scene.frame_end]
RESULT["colours"] = [list(bpy.ops.video_avatar.match_colours()), bpy.context.scene.view_settings.view_transform]
bpy.ops.wm.read_factory_settings(use_empty=True)
addon_utils.enable(NAME)
from importlib import import_module
import_module(NAME + ".scene").import_avatar(bpy.context, folder, name="Bert", match=False)
RESULT["function"] = describe("Bert")
bpy.ops.video_avatar.import_avatar(directory=folder, match="NEVER", head_moves=False)
RESULT["third"] = sorted(c.name for c in bpy.data.collections)
RESULT["error"] = [raises(lambda: bpy.ops.video_avatar.import_avatar(directory=folder + "/mesh")), STATE().error_code, len(bpy.data.collections)]
RESULT["policy"] = policy_warnings()
"""
    result, output = run_in_blender(script, tmp_path)
    assert result["answer"] == ["FINISHED"] and result["deliver"] is True
    assert result["operator"] == result["function"] and len(result["operator"]["keys"]) > 1
    assert result["fps before"] == 24 and result["match"] == [["FINISHED"], 30, 1.001, json.loads((package / "avatar.json").read_text())["num_frames"]]
    assert result["colours"] == [["FINISHED"], "Standard"]
    assert result["third"] == ["Anna", "Bert"]
    assert "avatar" in result["error"][0] and result["error"][1:] == ["asset_missing", 2]
    assert result["policy"] == {} and "Traceback" not in output
