# Two commands: `make demo` and `make test`. Both install what they need, on a bare Debian or Ubuntu too.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test lint types unit coverage bench bench-results docs cast deb clean

demo: $(VENV)/.demo
	./scripts/demo.sh $(abspath $(BIN))

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev $(VENV)/.oracles
	$(BIN)/pytest

coverage: $(VENV)/.dev $(VENV)/.oracles
	$(BIN)/pytest --cov=imgmount --cov-branch --cov-report=term-missing:skip-covered

bench: $(VENV)/.dev $(VENV)/.peers
	$(BIN)/python -m benchmarks

bench-results: $(VENV)/.dev $(VENV)/.peers
	$(BIN)/python -m benchmarks --json benchmarks/results/quiet.json
	$(BIN)/python -m benchmarks --busy --json benchmarks/results/busy.json
	$(BIN)/python -m benchmarks.plot benchmarks/results/quiet.json benchmarks/results/busy.json > docs/speed.svg

docs: $(VENV)/.dev
	$(BIN)/imgmount formats --markdown > docs/formats.md
	$(BIN)/imgmount --print man > docs/man/imgmount.1
	$(BIN)/imgmount --print man-formats > docs/man/imgmount-formats.7
	$(BIN)/imgmount --print man-mount > docs/man/mount.imgmount.8
	$(BIN)/imgmount --print bash > packaging/completion/imgmount.bash
	$(BIN)/imgmount --print zsh > packaging/completion/_imgmount
	$(BIN)/imgmount --print fish > packaging/completion/imgmount.fish
	./scripts/desktop-types.sh $(BIN)/imgmount
	command -v dot >/dev/null && dot -Tsvg docs/architecture.dot -o docs/architecture.svg

cast: $(VENV)/.demo
	./scripts/cast.py $(BIN) > docs/session.svg

deb: $(VENV)/bin/python
	./scripts/install-system.sh deb
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mfusepy
	./scripts/build-deb.sh $(BIN)/python dist

$(VENV)/bin/python:
	./scripts/install-system.sh base
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	./scripts/install-system.sh base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,zstd,crypto,lz4]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	./scripts/install-system.sh base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

$(VENV)/.oracles: $(VENV)/bin/python scripts/install-system.sh
	./scripts/install-system.sh oracles
	touch $@

$(VENV)/.peers: $(VENV)/bin/python scripts/install-system.sh
	./scripts/install-system.sh peers
	touch $@

clean:
	rm -rf $(VENV) build dist
