"""Lets every test folder import the helpers that lie in ``tests/`` (procedural_rig, synthetic_take, shared_data)."""

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
