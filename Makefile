# Video Avatar. On a fresh Debian or Ubuntu with Python 3.11:  make demo   make test
PYTHON ?= python3.11
VENV   := .venv
PY     := $(VENV)/bin/python
VIDEO  ?=
PRESET ?= standard
CONSENT ?=

# Waiting threads sleep (two cores are shared with Blender); Blender's module may hang at exit, so everything has a time limit.
export OMP_WAIT_POLICY = PASSIVE
PYTEST := timeout --kill-after=30 4800 $(PY) -m pytest

.PHONY: help setup lint types test test-slow demo zip lock clean

help:
	@echo "make demo [VIDEO=clip.mp4 CONSENT=1 PRESET=draft|standard|high]   clip -> avatar -> .blend, pictures and a rendered clip in demo/"
	@echo "make test        everything that is checked on every change"
	@echo "make test-slow   the long tests"
	@echo "make zip         the Blender extension, in dist/"
	@echo "make setup       only install what is missing (the others do this themselves)"
	@echo "make lock        resolve the dependencies again and write requirements.lock"
	@echo "make clean       remove what was made, keep .venv"

setup:
	@PYTHON="$(PYTHON)" tools/setup.sh $(VENV)

lint: setup
	$(PY) -m ruff check .

types: setup
	$(PY) -m mypy --strict --explicit-package-bases backend/protocol.py backend/errors.py $(wildcard blender_avatar/client)

test: setup lint types
	@tools/test.sh "$(PYTEST)" "not slow"

test-slow: setup
	@tools/test.sh "$(PYTEST)" "slow"

demo: setup
	$(PY) tools/demo.py --out demo --preset "$(PRESET)" $(if $(VIDEO),--video "$(VIDEO)") $(if $(CONSENT),--consent)

zip: setup
	timeout --kill-after=30 300 $(PY) build.py

lock: setup
	$(PY) tools/lock.py

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis tests/gui/output
	find backend blender_avatar tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
