# `make demo` and `make test` are the two commands; both set the environment up first if needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test lint bench gpu mutants faults clean

setup: $(STAMP)

# The stamp is written last, so an interrupted installation is simply run again. An environment whose making was
# interrupted has a python but no pip that works: it is made anew.
$(STAMP): pyproject.toml constraints.txt detectron2.txt benchmark/install_detectron2.py
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	rm -rf $(VENV)/lib/python3*/site-packages/~*  # what pip sets aside and leaves when it is killed
	@echo "installing into $(VENV): minutes, and about 6 GB of disk with torch's GPU libraries"
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python benchmark/install_detectron2.py
	touch $@

demo: $(STAMP)
	$(BIN)/python benchmark/run.py --suite demo --jobs 2

# Two processes of one thread each: torch's threads would only fight over the cores.
test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python -m tests.bench

# Tests and measurements that need a GPU, in under eight minutes; GPU_PYTHON may be an environment of your own.
GPU_PYTHON ?= $(BIN)/python
gpu:
	$(GPU_PYTHON) -m tests.gpu

# Changes one operator or constant at a time and sees whether the tests notice; takes long (see tests/mutants.py).
mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

# Kills, damaged bytes, full disks, signals and bad inputs, done to real runs; writes the table of docs/reliability.md.
faults: $(STAMP)
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults.reading

# Removes what setup, lint and test made; never results/, which may hold weeks of training.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find benchmark pretrain transfer tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "kept: results/ (runs, records, tables and composed images; remove it yourself if you mean to)"
