"""The backend's front door: ``python -m backend ...``, or ``python -I .../backend/__main__.py worker`` from the add-on.

Nothing heavy is imported before the thread policy is set.
"""

from __future__ import annotations

import os
import sys


def _main() -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    if not __package__:
        # Started by path: the folder that holds this package must be importable, and the package's own files must not be.
        sys.path[:] = [os.path.dirname(here)] + [path for path in sys.path if os.path.abspath(path or os.curdir) != here]
    from backend.command_line.main import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_main())
