# make demo: train on MNIST in a fresh environment. make test: every job of tox. make test-all: the long suites too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := -e . -e ./plugins/tinycore-cpu

.PHONY: demo test test-all clean

demo: $(VENV)/.packages
	$(BIN)/tinycore demo

test: $(VENV)/.tox
	$(BIN)/tox run

test-all: $(VENV)/.tox
	$(BIN)/tox run -e all

$(VENV)/.packages: pyproject.toml plugins/tinycore-cpu/pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet $(PACKAGES)
	touch $@

$(VENV)/.tox: | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet "tox>=4.22"
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .tox .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
