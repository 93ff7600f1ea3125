"""The console's one line, from clip to scene, with the real backend; and what happens to a job in background mode."""

import subprocess
import sys

import pytest
from addon_zip import ROOT, run_in_blender

sys.path.insert(0, str(ROOT))
import build  # noqa: E402


@pytest.fixture(scope="module")
def full_zip(tmp_path_factory):
    return build.build(tmp_path_factory.mktemp("dist"))


@pytest.mark.slow
def test_reconstruct_from_the_console(full_zip, tmp_path):
    """Minutes: renders a two-second clip, reconstructs it twice; the second result must be the same bytes under another name."""
    command = [sys.executable, "-m", "backend", "synth", "--out", str(tmp_path / "synth"), "--seconds", "2", "--size", "256", "--seed", "1"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    user = tmp_path / "user"
    user.mkdir()
    script = f"""
    install({str(full_zip)!r})
    clip = {str(tmp_path / "synth" / "clip.mp4")!r}
    RESULT["first"] = list(bpy.ops.video_avatar.reconstruct(video=clip, quality="DRAFT", consent=True))
    RESULT["scene"] = sorted(c.name for c in bpy.data.collections if c.name.startswith("clip"))
    RESULT["keys"] = [len(ob.data.shape_keys.key_blocks) for ob in bpy.data.objects if ob.type == "MESH" and ob.data.shape_keys]
    RESULT["state"] = [STATE().job_state, STATE().share]
    action = bpy.data.actions["clip|clip"]
    channels = action if hasattr(action, "fcurves") else action.layers[0].strips[0].channelbags[0]
    keys = lambda: [[list(point.co) for point in curve.keyframe_points] for curve in channels.fcurves]
    before = keys()
    bpy.ops.video_avatar.add_pin(frame=12, vertex_id=1374, x_px=128.0, y_px=140.0)
    RESULT["again"] = list(bpy.ops.video_avatar.track_again(frame_start=10, frame_end=14))
    after = keys()
    RESULT["changed"] = sorted(set(new[0] for curve, old_curve in zip(after, before) for new, old in zip(curve, old_curve) if new != old))
    RESULT["second"] = list(bpy.ops.video_avatar.reconstruct(video=clip, quality="DRAFT", consent=True, use_import=False))
    RESULT["torch"] = "torch" in sys.modules
    """
    result, output = run_in_blender(script, user, {"AVATAR_BACKEND_PYTHON": sys.executable}, limit_s=1800)
    assert result["first"] == result["second"] == ["FINISHED"]
    assert result["again"] == ["FINISHED"] and result["changed"] and set(result["changed"]) <= {10, 11, 12, 13, 14}
    assert result["scene"] == ["clip"] and result["keys"] == [53] and result["state"] == ["done", 1.0] and result["torch"] is False
    first, second = tmp_path / "synth" / "clip.avatar", tmp_path / "synth" / "clip_2.avatar"
    for name in ("mesh/head.npz", "animation/clip.npz", "texture/albedo.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert "Traceback" not in output


def test_a_job_that_fails_in_background_mode_raises_and_the_next_one_runs(full_zip, tmp_path):
    (tmp_path / "letter.mp4").write_text("Dear reader, this is no video.")
    script = f"""
    install({str(full_zip)!r})
    letter = {str(tmp_path / "letter.mp4")!r}
    RESULT["error"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video=letter, quality="DRAFT", consent=True))
    RESULT["state"] = [STATE().job_state, STATE().error_code]
    RESULT["high"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video=letter, quality="DRAFT", consent=True, device="CUDA", head_model="FLAME"))
    RESULT["objects"] = len(bpy.data.objects)
    session = module("session").current()
    session.start("dummy", {{"steps": 100000, "step_s": 0.01}})
    while session.backend.job.stage != "dummy":
        session.backend.pump()
    session.show()
    RESULT["busy"] = [bpy.ops.video_avatar.reconstruct.poll(), bpy.ops.video_avatar.check_backend.poll(), bpy.ops.video_avatar.cancel.poll()]
    RESULT["cancel"] = list(bpy.ops.video_avatar.cancel())
    RESULT["cancelling"] = [STATE().job_state, STATE().status]
    RESULT["cancelled"] = [session.wait().state.value, STATE().note, STATE().error]
    pid = session.backend.pid
    session.start("dummy", {{"steps": 100000, "step_s": 0.01}})
    bpy.ops.wm.read_factory_settings(use_empty=True)  # disables every add-on
    RESULT["after load"] = [module("session").current().backend.is_busy if f"{{NAME}}.session" in sys.modules and module("session").current() else "unregistered"]
    RESULT["child"] = os.path.exists(f"/proc/{{pid}}")
    """
    result, output = run_in_blender(script, tmp_path, {"AVATAR_BACKEND_PYTHON": sys.executable})
    assert "letter.mp4" in result["error"] and result["state"] == ["failed", "bad_input"]
    assert "FLAME" in result["high"] and result["objects"] == 3, "nothing was imported into the factory scene"
    assert result["busy"] == [False, False, True]
    assert result["cancel"] == ["FINISHED"] and result["cancelling"] == ["cancelling", "Stopping"]
    assert result["cancelled"][0] == "cancelled" and "kept" in result["cancelled"][1] and result["cancelled"][2] == ""
    assert result["after load"] == ["unregistered"] and result["child"] is False, "factory settings disable every add-on: the child goes too"
    assert "Traceback" not in output
