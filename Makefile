# `make demo` and `make test` work on a fresh machine: each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-hostile mutants check format docs bench clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/seedbed run toy -d 8gaussians --seeds 10 --budget demo --name demo

# Every call of a signature with shapes is checked against them: three times the time. So for the tests of the mathematics in
# `test`, but for the long chains and the sums over many samples, and for every test in `test-all`.
SHAPES := --jaxtyping-packages=seedbed,beartype.beartype
LONG := tests/evaluate/test_annealing.py tests/evaluate/test_likelihood.py
SHAPED := $(filter-out $(LONG),$(wildcard tests/evaluate/test_*.py)) tests/core tests/distributions tests/models tests/nets \
	tests/objectives tests/test_shapes.py

# A file of tests stays with one of the two workers: what its tests share is made once.
test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile $(SHAPES) $(SHAPED)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(SHAPED:%=--ignore=%)

test-all: .venv/ready
	$(BIN)/python -m pytest $(SHAPES) -m 'slow or not slow' --timeout 3600

# Is odd input answered in one clear line? All of it, or `make test-hostile KIND=numbers`.
test-hostile: .venv/ready
	$(BIN)/python tests/hostile/runner.py $(if $(KIND),--kind '$(KIND)')

# Do the tests notice planted mistakes? All groups, or `make mutants GROUP=bounds`.
mutants: .venv/ready
	$(BIN)/python tests/mutants/runner.py $(GROUP)

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_layers.py

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/seeds.py
	$(BIN)/python benchmarks/images.py
	$(BIN)/python benchmarks/convergence.py

docs: .venv/ready
	$(BIN)/python -m seedbed.report.page results docs/results.md
	$(BIN)/python docs/layers.py --write

clean:
	rm -rf .venv build dist *.egg-info src/*.egg-info .pytest_cache .ruff_cache
