# Every target sets up what it needs: `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check

.PHONY: setup demo test test-all lint browser bench-setup clean

setup: $(VENV)/.dev

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "heed needs Python 3.10 or newer, this is %s (try: make PYTHON=python3.12)" % sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/heed demo

test: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 --dist loadfile

# Ray and datatrove (260 MB) are wanted by the slow tests of `heed prepare --executor ray` alone.
$(VENV)/.scale: $(VENV)/.dev
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,scale]'
	touch $@

test-all: $(VENV)/.scale
	$(BIN)/pytest -q -n 2 --dist loadfile -m 'not gpu'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Debian's chromium drives the browser tests; without it they skip, counted.
browser: $(VENV)/.dev
	@command -v chromium >/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-core >/dev/null; \
	  else echo "chromium is not installed and cannot be installed from here: browser tests will skip"; fi; }

# Peers live in environments of their own, so that their pins never touch ours nor each other's.
PEERS := trl llamafactory litgpt datatrove transformers
bench-setup: $(VENV)/.dev $(PEERS:%=.bench/%/.done)

.bench/%/.done: benchmarks/constraints-%.txt
	test -x .bench/$*/bin/python || $(PYTHON) -m venv .bench/$*
	.bench/$*/bin/pip --disable-pip-version-check install --quiet --requirement $<
	$(EXTRA)
	touch $@

# Its torchvision and torchaudio exist built for CUDA only, do not load beside a CPU torch, and are not needed for text.
.bench/llamafactory/.done: EXTRA = .bench/llamafactory/bin/pip --disable-pip-version-check install --quiet --no-deps llamafactory==0.9.5

clean:
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache
