# h3py from nothing: every target makes what it needs first, and a second run is instant.
#
#   make demo                    a page with live streams on http://127.0.0.1:3000
#   make demo BACKEND=threads    the same application on the other backend; PORT=8080 works too
#   make test                    the whole suite; ARGS="tests/http -k chunked" narrows it
#
# `make help` lists the rest. PYTHON=python3.12 chooses the interpreter (3.11 or newer), and
# VENV=.venv-3.12 keeps its environment apart.

VENV ?= .venv
BACKEND ?= trio
HOST ?= 127.0.0.1
PORT ?= 3000
ARGS ?=
SECONDS ?= 60

BIN := $(VENV)/bin
DONE := $(VENV)/.stamps
RUN := $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CORE := src/h3py/_speedups
# Generated C lies beside its .pyx; C written by hand has none.
CORE_SOURCES := setup.py $(wildcard $(CORE)/*.pyx $(CORE)/*.pxd $(CORE)/*.pxi $(CORE)/*.h) \
	$(filter-out $(patsubst %.pyx,%.c,$(wildcard $(CORE)/*.pyx)),$(wildcard $(CORE)/*.c))

export PYTHON VENV

.PHONY: help build environment demo test check bench cov docs soak sanitize asan lsan tsan clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:
	@echo "make demo      live streams on http://$(HOST):$(PORT)   (BACKEND=trio or threads, PORT=)"
	@echo "make test      the suite                               (ARGS= goes to pytest)"
	@echo "make build     the compiled core, in place"
	@echo "make check     format, lint, types, stubs, layers"
	@echo "make sanitize  the core under ASan+UBSan, LSan and TSan: make asan, make lsan, make tsan"
	@echo "make cov       line coverage, compiled lines included"
	@echo "make docs      generated pages, what they say is run, and HTML of them: build/docs/"
	@echo "make bench     every figure, into docs/benchmarks/"
	@echo "make soak      10,000 connections, and a minute of streaming (SECONDS=3600: an hour)"
	@echo "make clean     removes what make made"

build: $(DONE)/core

environment: $(DONE)/core $(DONE)/test $(DONE)/check

demo: $(DONE)/core
	$(BIN)/h3py demo --backend $(BACKEND) --host $(HOST) --port $(PORT)

test: $(DONE)/core $(DONE)/test
	$(RUN) -m pytest $(ARGS)

check: $(DONE)/core $(DONE)/test $(DONE)/check
	PATH="$(abspath $(BIN)):$$PATH" tools/check.sh

sanitize: asan lsan tsan

asan lsan tsan: $(DONE)/core $(DONE)/test
	tools/sanitize.sh $@ $(ARGS)

cov: $(DONE)/core $(DONE)/test $(DONE)/cov
	tools/coverage.sh $(ARGS)

docs: $(DONE)/core $(DONE)/test $(DONE)/docs
	$(RUN) tools/generated_docs.py
	$(RUN) -m pytest tests/docs tests/project/test_docs.py tests/project/test_requirements.py $(ARGS)
	$(RUN) -m sphinx -q -n -W --keep-going -c tools/docs docs build/docs
	@echo "the pages: build/docs/index.html"

bench: $(DONE)/core $(DONE)/bench
	$(RUN) -m bench.run $(ARGS)

soak: $(DONE)/core $(DONE)/test
	H3PY_SOAK_S=$(SECONDS) $(RUN) -m pytest --soak -m soak -o faulthandler_timeout=0 $(ARGS)

clean:
	rm -rf build dist .venv $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .benchmarks .coverage bench/native/build src/*.egg-info
	rm -f $(CORE)/*.so $(patsubst %.pyx,%.c,$(wildcard $(CORE)/*.pyx))
	find src tests bench examples tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, made anew when PYTHON names another interpreter. The pip in a fresh one may
# be too old for dependency groups (25.1).
VENV_MADE := $(DONE)/venv$(addprefix -,$(notdir $(PYTHON)))
$(VENV_MADE):
	@python=$$(tools/preflight.sh) && echo "h3py: $(VENV) with $$python" && \
		"$$python" -m venv $$([ ! -d $(DONE) ] || echo --clear) $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"
	@mkdir -p $(DONE) && touch $@

# The package, editable, with what it needs to run and to be built again in place.
$(DONE)/package: $(VENV_MADE) pyproject.toml
	@$(PIP) install --group build
	@echo "h3py: compiling the core"
	@$(PIP) install --no-build-isolation --editable ".[forms]"
	@touch $@

$(DONE)/core: $(DONE)/package $(CORE_SOURCES)
	@$(RUN) setup.py --quiet build_ext --inplace
	@touch $@

# A group of dependencies: $(DONE)/test, $(DONE)/check, ...
$(DONE)/%: $(VENV_MADE) pyproject.toml
	@$(PIP) install --group $*
	@touch $@
