# make run    install into .venv and run the daemon
# make test   install what the tests need and run them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check catalogue dialects fault-matrix bench bench-translation soak fuzz clean

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

bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/translation.py

# ARGS='--litellm-python PATH' to have LiteLLM beside it (benchmarks/README.md).
bench-translation: $(VENV)/installed-test
	$(BIN)/python benchmarks/translation.py $(ARGS)

# Long runs, for before a release: every property with many examples; a daemon under load and faults.
ROUNDS ?= 10
fuzz: $(VENV)/installed-test
	for seed in $$(seq $(ROUNDS)); do \
	  $(BIN)/python -m pytest -q --hypothesis-profile=campaign --hypothesis-seed=$$seed -n 2 tests/laws \
	    tests/rooms $(ARGS) || exit 1; \
	done

soak: $(VENV)/installed-test
	$(BIN)/python benchmarks/soak.py $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info
