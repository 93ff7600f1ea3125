"""What the kernels cost: cases, the scene they run on, timing, the report. ``python -m backend bench render``."""
