"""Video Avatar's compute backend: from a video of a person to files that describe an animatable head.

The backend knows nothing of Blender. It is a library, a command line (``python -m backend``) and a
worker that speaks JSON lines. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
