# Every target sets itself up: the first one builds .venv from any Python >= 3.11 on the path.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
OLDEST := .venv-oldest
OLDEST_STAMP := $(OLDEST)/.stamp
TEST_WORKERS ?= 2

DOCS_STAMP := $(VENV)/.stamp-docs

.PHONY: help demo docs walk test test-oldest check fix lock results clean

help:
	@echo "make demo    ask the embedded model about images; writes out/demo.html"
	@echo "make docs    build all documents as pages, with the Python reference; writes out/site"
	@echo "make walk    type what the documents tell a newcomer to, and keep an image of every page in out/walk"
	@echo "make test    run the tests"
	@echo "make test-oldest  run the tests of exactness with the oldest supported transformers"
	@echo "make check   lint, format and types"
	@echo "make fix     repair what the linter and the formatter can repair"
	@echo "make results run the whole benchmark here and render it into the documents"
	@echo "make lock    take in new releases: resolve and pin everything anew"
	@echo "make clean   remove the environment, caches and out/"

demo: $(STAMP)
	@mkdir -p out
	$(BIN)/seeahead demo --output out/demo.html

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "written: out/site/index.html"

# It types make demo and make docs itself, as a newcomer would.
walk: $(STAMP)
	$(BIN)/python -m tools.walk

test: $(STAMP)
	$(BIN)/pytest --numprocesses $(TEST_WORKERS) --dist worksteal

# What a release of transformers can break: entry points, token identity, rollback, the control.
test-oldest: $(OLDEST_STAMP)
	$(OLDEST)/bin/pytest --numprocesses $(TEST_WORKERS) tests/lossless/test_identity.py tests/lossless/test_rollback.py \
	  tests/lossless/test_control.py tests/test_hf_generate.py tests/test_api.py tests/families

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(STAMP)
	$(BIN)/seeahead bench --peers $(foreach drafter,none lookup language vision tabed msd auto,-d $(drafter)) --output out/bench
	mkdir -p results && cp out/bench/bench.json results/bench-demo.json
	$(BIN)/python benchmarks/render.py

lock: $(STAMP)
	$(BIN)/python tools/lock.py

clean:
	rm -rf $(VENV) $(OLDEST) out build dist .mypy_cache .pytest_cache .ruff_cache

# A Python counts only if it is new enough and can make an environment with pip in it.
$(STAMP): pyproject.toml constraints.txt
	@python=; \
	for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python >= 3.11 with the venv module found; install one, or say make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version); the first time takes a few minutes"; \
	$$python -m venv --clear $(VENV)
	@$(call install,$(VENV),constraints.txt)
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@touch $@

$(OLDEST_STAMP): $(STAMP) constraints-oldest.txt
	@echo "Setting up $(OLDEST) with the oldest supported transformers"
	@$(BIN)/python -m venv --clear $(OLDEST)
	@$(call install,$(OLDEST),constraints-oldest.txt)
	@touch $@

# The build tool comes first and pinned: in an environment of its own pip would take its newest release.
define install
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(2) setuptools && \
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(2) --no-build-isolation --editable '.[demo,dev]'
endef
