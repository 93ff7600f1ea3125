"""``probe --warm`` leaves no kernel for the first reconstruction to compile (private ones are compiled into those that call them)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, pkgutil
from numba.core.dispatcher import Dispatcher
import backend.geometry.closest_kernels
import backend.render.numba_kernels as room
from backend.render.warm import warm_kernels
seconds = warm_kernels()
assert set(seconds) == {"meshes", "gaussians", "volumes", "closest"}, seconds
modules = [importlib.import_module(f"{room.__name__}.{info.name}") for info in pkgutil.iter_modules(room.__path__)] + [backend.geometry.closest_kernels]
cold = [f"{module.__name__}.{name}" for module in modules for name, value in vars(module).items() if isinstance(value, Dispatcher) and not name.startswith("_") and not value.signatures]
print(sorted(cold))
"""


def test_every_kernel_is_compiled():
    """In a process of its own, where no other test has called a kernel."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
