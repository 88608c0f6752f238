# make run    install into .venv and run the daemon
# make test   install what the tests need and run them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check catalogue dialects fault-matrix bench bench-translation soak torture fuzz clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

run: $(VENV)/installed
	$(BIN)/redeo serve

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

# What is made from config/catalogue/providers.yaml.
catalogue: $(VENV)/installed
	$(BIN)/python -m config.catalogue --json > providers.json.new
	mv providers.json.new config/catalogue/providers.json
	$(BIN)/python -m config.catalogue > docs/providers.md

# What survives between dialects, measured on recorded traffic.
RECORDINGS ?= ../shared/recordings
dialects: $(VENV)/installed-test
	$(BIN)/python -m tests.support.matrix_page $(RECORDINGS) > dialects.md.new
	mv dialects.md.new docs/dialects.md

# What goes wrong, and what the client gets all the same: runs tests/matrix.
fault-matrix: $(VENV)/installed-test
	$(BIN)/python -m tests.matrix.report

# What a request, a chunk, a stream and a start cost, beside nginx (benchmarks/README.md). ARGS='--quick' to try it.
bench: $(VENV)/installed
	$(BIN)/python benchmarks/bench.py $(ARGS)

# ARGS='--litellm-python PATH' to have LiteLLM beside it (benchmarks/README.md).
bench-translation: $(VENV)/installed-test
	$(BIN)/python benchmarks/translation.py $(ARGS)

# Long runs, for before a release: fuzz/README.md, benchmarks/README.md. The fuzzers have an environment of their own.
# ARGS='--seconds 600' for the time of the parsers and laws; ROUNDS=n for n rounds of the laws instead.
FUZZ := .venv-fuzz
$(FUZZ)/installed: pyproject.toml
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --editable '.[test,fuzz]'
	touch $@

ROUNDS ?= 0
fuzz: $(FUZZ)/installed
	$(FUZZ)/bin/python -m fuzz --rounds $(ROUNDS) $(ARGS)

# ARGS='--seconds 1200': load, streams, faults, reloads and restarts together, for so long.
soak: $(VENV)/installed-test
	$(BIN)/python benchmarks/soak.py $(ARGS)

# ARGS='--streams 10000 --seed 1': that many streams with random faults; none may look complete and not be.
torture: $(VENV)/installed-test
	$(BIN)/python benchmarks/torture.py $(ARGS)

clean:
	rm -rf $(VENV) $(FUZZ) .fuzz build dist *.egg-info
