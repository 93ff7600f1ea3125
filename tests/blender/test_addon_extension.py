"""The built zip: installed into an empty user folder, enabled, used, disabled, removed; nothing is left behind."""

import sys
import zipfile

import pytest
from addon_zip import ROOT, run_in_blender

sys.path.insert(0, str(ROOT))
import build  # noqa: E402

WARNINGS = ("Traceback", "Warning: class", "already been registered", "ResourceWarning")


@pytest.fixture(scope="module")
def zips(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    return {"full": build.build(out), "light": build.build(out, is_light=True)}


def test_the_full_zip_holds_add_on_and_backend_and_no_rubbish(zips):
    with zipfile.ZipFile(zips["full"]) as archive:
        names = set(archive.namelist())
    assert {"__init__.py", "blender_manifest.toml", "operators/reconstruct.py", "scene/__init__.py", "backend/__main__.py", "backend/pipeline.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".zip")) or name.startswith(("tests", "blender_avatar"))]
    on_disk = {f"backend/{path.relative_to(ROOT / 'backend').as_posix()}" for path in (ROOT / "backend").rglob("*.py")}
    assert on_disk <= names, "every backend file travels"


def test_the_light_zip_is_small_and_holds_no_computing(zips):
    with zipfile.ZipFile(zips["light"]) as archive:
        backend = {name for name in archive.namelist() if name.startswith("backend/")}
    assert {"backend/protocol.py", "backend/package/read.py"} <= backend and not backend & {"backend/__main__.py", "backend/worker.py", "backend/pipeline.py"}
    assert zips["light"].stat().st_size < zips["full"].stat().st_size


def test_versions_agree():
    import tomllib

    import backend

    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert manifest["version"] == project["project"]["version"] == backend.__version__
    assert manifest["id"] == "video_avatar" and "blender" not in manifest["name"].lower()


def test_install_use_and_remove(zips, tmp_path):
    """The whole life in one Blender: a scan before and after finds no class, property, handler, timer, thread or child left."""
    script = f"""
    import threading
    def scan():
        types = {{name for name in dir(bpy.types) if "video_avatar" in name.lower() or "VideoAvatar" in name}}
        types |= {{cls.__name__ for cls in bpy.types.PropertyGroup.__subclasses__() if "VideoAvatar" in cls.__name__ and cls.is_registered}}
        owners = {{f"{{owner.__name__}}.{{name}}" for owner in (bpy.types.Scene, bpy.types.WindowManager, bpy.types.Object, bpy.types.Collection)
                  for name in owner.bl_rna.properties.keys() if "avatar" in name}}
        handlers = {{f"{{kind}}:{{function.__module__}}" for kind in dir(bpy.app.handlers) if isinstance(getattr(bpy.app.handlers, kind), list)
                    for function in getattr(bpy.app.handlers, kind) if "avatar" in function.__module__}}
        menus = {{function.__module__ for function in bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize() if "avatar" in function.__module__}}
        operators = set(dir(bpy.ops.video_avatar))
        return sorted(types | owners | handlers | menus | operators)
    RESULT["before"] = scan()
    install({str(zips["full"])!r})
    RESULT["enabled"] = [a.module for a in bpy.context.preferences.addons if "avatar" in a.module]
    RESULT["during"] = scan()

    session = module("session")
    assert session.current().start("dummy", {{"steps": 3, "step_s": 0.0}}) is None
    RESULT["dummy"] = [session.current().wait().state.value, STATE().job_state, STATE().backend, STATE().backend_text]
    pid = session.current().backend.pid
    RESULT["no consent"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video="clip.mp4", quality="DRAFT"))
    RESULT["no video"] = raises(lambda: bpy.ops.video_avatar.reconstruct(consent=True))
    RESULT["no clip"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video="clip.mp4", quality="DRAFT", consent=True))
    RESULT["shown"] = [STATE().error, STATE().hint, STATE().error_code]
    RESULT["dismissed"] = [list(bpy.ops.video_avatar.dismiss()), STATE().error]
    RESULT["no avatar"] = raises(lambda: bpy.ops.video_avatar.import_avatar(directory="nothing.avatar"))
    RESULT["no match"] = raises(lambda: bpy.ops.video_avatar.match_scene())
    RESULT["colours"] = list(bpy.ops.video_avatar.match_colours())
    RESULT["cancel poll"] = bpy.ops.video_avatar.cancel.poll()
    RESULT["check"] = [list(bpy.ops.video_avatar.check_backend()), STATE().backend_text]
    RESULT["same child"] = session.current().backend.pid == pid
    RESULT["policy"] = policy_warnings()
    import importlib.util  # the scan must be able to see a violation: load a file of ours under a name of its own
    spec = importlib.util.spec_from_file_location("stray", module("backend_link").__file__)
    sys.modules["stray"] = importlib.util.module_from_spec(spec)
    RESULT["policy control"] = policy_warnings()
    del sys.modules["stray"]
    RESULT["modules"] = [name for name in ("torch", "backend", "blender_avatar") if name in sys.modules]
    RESULT["foreign"] = [name for name, m in sys.modules.items() if "video_avatar" in (getattr(m, "__file__", "") or "") and not name.startswith("bl_ext.")]

    addon_utils.disable(NAME, default_set=True)
    RESULT["after disable"] = scan()
    RESULT["threads"] = [t.name for t in threading.enumerate() if "avatar" in t.name]
    RESULT["child gone"] = not os.path.exists(f"/proc/{{pid}}")
    addon_utils.enable(NAME, default_set=True)
    RESULT["again"] = scan()
    addon_utils.disable(NAME, default_set=True)
    RESULT["after second"] = scan()
    bpy.ops.extensions.package_uninstall(repo_index=[r.module for r in bpy.context.preferences.extensions.repos].index("user_default"), pkg_id="video_avatar")
    """
    result, output = run_in_blender(script, tmp_path, {"AVATAR_BACKEND_PYTHON": sys.executable})
    assert result["before"] == result["after disable"] == result["after second"] == []
    assert result["again"] == result["during"] and "Scene.video_avatar" in result["during"] and "reconstruct" in result["during"]
    assert result["enabled"] == ["bl_ext.user_default.video_avatar"]
    assert result["dummy"][:3] == ["done", "done", "READY"] and "Python" in result["dummy"][3]
    assert "consent" in result["no consent"] and "video" in result["no video"]
    assert "clip.mp4" in result["no clip"]
    assert "clip.mp4" in result["shown"][0] and result["shown"][2] == "bad_input" and result["shown"][1]
    assert result["dismissed"] == [["FINISHED"], ""]
    assert "nothing.avatar" in result["no avatar"] and "avatar" in result["no match"]
    assert result["colours"] == ["FINISHED"] and result["cancel poll"] is False
    assert result["check"][0] == ["FINISHED"] and "CPU" in result["check"][1] or "NVIDIA" in result["check"][1]
    assert result["same child"] and result["child gone"] and result["threads"] == []
    assert result["modules"] == [], "the add-on's Python never sees torch, nor our modules at top level"
    assert result["foreign"] == [] and result["policy"] == {}
    assert "stray" in str(result["policy control"]), "the check can fail"
    left = [path for path in tmp_path.rglob("*video_avatar*") if path.is_dir()]
    assert left == [], "removed with everything it wrote"
    assert not [word for word in WARNINGS if word.lower() in output.lower()], output[-4000:]


def test_the_light_build_imports_but_says_that_it_cannot_compute(zips, tmp_path):
    script = f"""
    install({str(zips["light"])!r})
    RESULT["reader"] = module("backend_link").backend_module("package.read").__name__
    RESULT["reconstruct"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video="clip.mp4", consent=True))
    module("session").look_for_backend()
    RESULT["state"] = [STATE().backend, STATE().error_code]
    bpy.context.preferences.addons[NAME].preferences.backend_folder = {str(ROOT)!r}
    RESULT["with folder"] = [STATE().backend, list(bpy.ops.video_avatar.check_backend())]
    """
    result, output = run_in_blender(script, tmp_path, {"AVATAR_BACKEND_PYTHON": sys.executable})
    assert result["reader"] == "bl_ext.user_default.video_avatar.backend.package.read"
    assert "without the backend" in result["reconstruct"] and result["state"] == ["MISSING", "environment"]
    assert result["with folder"] == ["FOUND", ["FINISHED"]]


def test_without_a_python_it_says_so(zips, tmp_path):
    script = f"""
    install({str(zips["full"])!r})
    RESULT["reconstruct"] = raises(lambda: bpy.ops.video_avatar.reconstruct(video="clip.mp4", consent=True))
    prefs = bpy.context.preferences.addons[NAME].preferences
    prefs.backend_python = {sys.executable!r}
    RESULT["found"] = STATE().backend
    prefs.backend_python = "/nowhere/python"
    RESULT["lost"] = STATE().backend
    """
    result, _ = run_in_blender(script, tmp_path)
    assert "No Python" in result["reconstruct"] and "preferences" in result["reconstruct"]
    assert (result["found"], result["lost"]) == ("FOUND", "MISSING")
