# Everything a developer types. `make help` lists it.

PYTHON ?= python3
ARGS ?=
JOBS ?= 3

BIN := .venv/bin
INSTALLED := .venv/.installed
BASELINE := proto/released.binpb
PROTOS := $(sort $(wildcard proto/codeq/v1/*.proto))

protoc = $(BIN)/python -m grpc_tools.protoc --proto_path=proto \
	--python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) $(PROTOS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## make .venv with codeQ and its tools (PYTHON=python3.13 to choose one)
	@:

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) was not found; codeQ needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "codeQ needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
			"name another one: make install PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt pip hatchling editables
	$(BIN)/python -m pip install -q --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

# No shell stands between make and the program: Ctrl-C and SIGTERM reach it, its exit code counts.
.PHONY: run
run: $(INSTALLED) ## start a server with an embedded store (ARGS="--help" for its options)
	@$(BIN)/codeq dev $(ARGS)

# Most tests wait for something, so more run at a time than there are cores. Some look at how others
# fare under attack: they want the machine for themselves.
NONE := 5
.PHONY: test
test: $(INSTALLED) ## run the tests, JOBS=3 files at a time (ARGS="-k claim" to choose)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not alone" $(ARGS); \
	many=$$?; [ $$many = 0 ] || [ $$many = $(NONE) ] || exit $$many; \
	$(BIN)/python -m pytest -m alone $(ARGS); \
	alone=$$?; [ $$alone = $(NONE) ] && exit $$many; exit $$alone

.PHONY: soak
soak: $(INSTALLED) ## many tasks under every kind of fault (ARGS="--help" for its options)
	@$(BIN)/python -m tests.faults $(ARGS)

.PHONY: mutants
mutants: $(INSTALLED) ## seeded bugs: show that the tests of faults catch every one (ARGS="--help")
	@$(BIN)/python -m tests.faults.mutate $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## measure full cycles a second (ARGS="all", ARGS="unary --scale 0.1"; bench/README.md)
	@$(BIN)/python -m bench $(ARGS)

FUZZ_SECONDS ?= 300

.PHONY: fuzz
fuzz: $(INSTALLED) ## feed checks and parsers what atheris makes up (FUZZ_SECONDS=300, ARGS="requests")
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation \
		-c constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

# The tools have an environment of their own, and what is looked at is what a user installs.
.PHONY: audit
audit: $(INSTALLED) ## build/sbom.json, licences, known weaknesses (asks PyPI's advisory service)
	@rm -rf build/runtime build/wheel && mkdir -p build
	@$(BIN)/python -m venv --without-pip build/runtime
	@[ -e build/audit ] || $(BIN)/python -m venv build/audit
	@build/audit/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt \
		cyclonedx-bom pip-audit
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w build/wheel .
	@$(BIN)/python -m pip --python build/runtime/bin/python install -q \
		--disable-pip-version-check -c constraints.txt build/wheel/*.whl
	build/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json build/runtime/bin/python
	@$(BIN)/python -m pip --python build/runtime/bin/python freeze -q \
		--disable-pip-version-check --exclude codeq-grpc >build/installed.txt
	@build/audit/bin/pip-audit --strict --progress-spinner off -r build/installed.txt --no-deps \
		--disable-pip || { \
		echo "pip-audit found something, or no advisory service answered: see above" >&2; exit 1; }

.PHONY: check
check: check-style check-types check-doors check-proto check-generated check-lua ## run every check; -k goes on after a failure

.PHONY: check-style
check-style: $(INSTALLED) ## ruff: format and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

.PHONY: check-types
check-types: $(INSTALLED) ## mypy
	$(BIN)/mypy

.PHONY: check-doors
check-doors: $(INSTALLED) ## import-linter: who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: check-proto
check-proto: $(INSTALLED) ## buf: lint, format, nothing broken since the baseline
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against $(BASELINE)

.PHONY: check-generated
check-generated: $(INSTALLED) ## generated/ is what proto/ says
	@rm -rf build/generated && mkdir -p build/generated
	@$(call protoc,build/generated)
	@diff -rq -x __pycache__ -x __init__.py -x py.typed generated build/generated || { \
		echo "generated/ is not what proto/ says: run make generate" >&2; exit 1; }

.PHONY: check-lua
check-lua: $(INSTALLED) ## luacheck on the scripts as the store receives them
	@command -v luacheck >/dev/null || { \
		echo "luacheck was not found: apt-get install lua-check (Debian, Ubuntu)," \
			"brew install luacheck (macOS)" >&2; exit 1; }
	@rm -rf build/lua && mkdir -p build/lua
	$(BIN)/python -m codeq_grpc.store.scripts build/lua
	luacheck --quiet --no-color build/lua

.PHONY: generate
generate: $(INSTALLED) ## write generated/ from proto/
	@rm -f generated/codeq/v1/*_pb2*.py generated/codeq/v1/*_pb2.pyi
	$(call protoc,generated)

.PHONY: docs
docs: $(INSTALLED) ## write the pages that are made: docs/reference.md and two more
	$(BIN)/python -m tests.unit.reference_doc docs/reference.md
	$(BIN)/python -m tests.unit.state_machine_doc docs/state-machine.md
	$(BIN)/python -m tests.unit.licences_doc docs/licences.md

.PHONY: baseline
baseline: $(INSTALLED) ## freeze proto/ as released; buf breaking compares with it
	$(BIN)/buf build --exclude-source-info --output $(BASELINE)

.PHONY: format
format: $(INSTALLED) ## format Python and proto, mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/buf format --write

.PHONY: clean
clean: ## remove .venv, builds and caches
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find codeq_grpc generated tests -name __pycache__ -prune -exec rm -rf {} +
