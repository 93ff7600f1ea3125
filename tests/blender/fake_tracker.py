"""A worker that answers a ``track_again`` job with a patch made beforehand, so that the add-on's side is tested without tracking. Not a test.

``fake_tracker.json`` beside it says what to do: ``patch`` to copy to ``out``, or ``error`` to send. What it was asked is left in ``asked.json``.
"""

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main():
    plan = json.loads((HERE / "fake_tracker.json").read_text())
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "hello":
            say(type="ready", protocol_version=message["protocol_version"], backend_version="0", python_version="3.11", pid=1)
        elif message["type"] == "run":
            (HERE / "asked.json").write_text(json.dumps(message["settings"]))
            if "error" in plan:
                say(type="error", id=message["id"], **plan["error"])
                continue
            say(type="progress", id=message["id"], stage="track", done=1, total=2, unit="frames")
            shutil.copy(plan["patch"], message["settings"]["out"])
            say(type="done", id=message["id"], result={"patch": message["settings"]["out"], "num_frames": 1})
        elif message["type"] == "shutdown":
            return


main()
