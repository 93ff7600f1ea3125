"""Reaches the few backend modules that Blender may load: the message format and the package reader.

They are loaded under this package's own name (``<add-on>.backend``): an extension that adds a top-level module is
reported by Blender as breaking its rules. ``backend/`` is a child of this package once installed, and a sibling in a checkout.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from .client.paths import backend_dir


def backend_module(name: str) -> ModuleType:
    """The backend module ``name`` (such as ``protocol`` or ``package.read``).

    Raises:
        ImportError: there is no such module in this build.
    """
    link = f"{__package__}.backend"
    if link not in sys.modules:
        folder = backend_dir()
        spec = importlib.util.spec_from_file_location(link, folder / "__init__.py", submodule_search_locations=[str(folder)])
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} is no Python package", name=link, path=str(folder))
        module = importlib.util.module_from_spec(spec)
        sys.modules[link] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[link]
            raise
    return importlib.import_module(f"{link}.{name}")
