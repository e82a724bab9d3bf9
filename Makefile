# Everything here works on a machine without any of our packages: Python 3.11 with venv is enough.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# A value of ours must not reach the tests, which set their own. Python keeps what it compiled, also
# where the environment says not to: the tests start it hundreds of times.
CLEAN := env -u PYTHONDONTWRITEBYTECODE $(foreach name,$(filter DEBFLEET_%,$(.VARIABLES)),$(if $(filter DEBFLEET_TEST_%,$(name)),,-u $(name)))
PYTEST := $(CLEAN) $(BIN)/pytest
CLIENTS := tests/clients/.venv
FUZZ := tests/fuzz/.engine

.PHONY: help demo venv test format lint imports types unit services clients system faults fuzz bench rabbitmq kubectl lock clean docs prometheus dashboards pictures

help:
	@echo 'make demo    start debfleet, sync a small upstream, publish it, let apt use it'
	@echo '             (URL=http://… DIST=bookworm COMPONENTS=main ARCHITECTURES=amd64: your own)'
	@echo 'make test    every check and test, with a private Postgres and RabbitMQ'
	@echo 'make venv    only the environment: .venv/bin/debfleet is the command line'
	@echo 'make format lint imports types unit services clients system: one part of the tests'
	@echo 'make docs    write docs/metrics.md and docs/settings.md anew'
	@echo 'make faults  a thousand kills and cuts over complete syncs (EVENTS=1000 SEED=1 LANES=3), and a'
	@echo '             hundred switches under twenty apt clients'
	@echo 'make dashboards   write the dashboards for Grafana anew; make pictures: draw them, of a busy fleet'
	@echo 'make fuzz    what upstream and clients send, broken at random, for longer (EXAMPLES=5000 CONTRACT=30 RUNS=100000)'
	@echo 'make bench   debfleet against curl, aptly, debmirror and nginx, as far as they are installed'
	@echo 'make lock    bring requirements.lock to pyproject.toml (UPGRADE=1: to the newest versions too)'

# make demo URL=… DIST=… becomes debfleet demo --url … --dist …
demo: $(STAMP)
	@$(BIN)/debfleet demo $(if $(URL),--url '$(URL)') $(if $(DIST),--dist '$(DIST)') \
	  $(if $(COMPONENTS),--components '$(COMPONENTS)') \
	  $(if $(ARCHITECTURES),--architectures '$(ARCHITECTURES)') \
	  $(if $(POLICY),--policy '$(POLICY)') $(if $(GPGKEY),--gpgkey '$(GPGKEY)')

venv: $(STAMP)
	@echo "the environment is there; the command line is $(BIN)/debfleet"

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'debfleet needs Python 3.11 or later; $(PYTHON) is older. Name another: make PYTHON=python3.12 …'; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo 'Python cannot make a virtual environment here. On Debian and Ubuntu: apt install python3-venv'; \
	  rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# In this order, stopping at the first that fails.
test: $(STAMP)
	@for part in format lint imports types kubectl prometheus rabbitmq unit services clients system; do \
	  echo "== $$part"; $(MAKE) --no-print-directory $$part || exit 1; done
	@echo '== all well'

format: $(STAMP)
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; echo 'to mend it: $(BIN)/ruff format .'; exit 1; }

lint: $(STAMP)
	@$(BIN)/ruff check --quiet .

imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo

types: $(STAMP)
	@$(BIN)/mypy

docs: $(STAMP)
	@$(BIN)/python docs/reference.py

pictures: $(STAMP)
	@$(CLEAN) $(BIN)/python bench/monitored.py --minutes 3

dashboards: $(STAMP)
	@$(BIN)/python deploy/k8s/components/monitoring/dashboards.py

bench: $(STAMP)
	@$(CLEAN) $(BIN)/python bench/sync.py --rounds $(or $(ROUNDS),5) --write docs/benchmarks.md
	@$(CLEAN) $(BIN)/python bench/content.py

# Side by side, since most of the time of these tests is waiting; those that compare times follow.
unit: $(STAMP)
	@$(PYTEST) -q -n 4 tests/$@

# Each file in one process of pytest: its tests may share a fleet.
system: $(STAMP)
	@$(PYTEST) -q -n 3 --dist loadfile tests/$@

services: $(STAMP)
	@$(PYTEST) -q -n 4 --dist loadfile -m 'not alone' tests/$@
	@$(PYTEST) -q -m alone $$(grep -l mark.alone tests/$@/*.py)

# Pulp's own clients against debfleet up, each file of tests with a fleet of its own.
clients: $(STAMP) $(CLIENTS)/.installed
	@$(PYTEST) -q -n 2 --dist loadfile tests/$@

$(CLIENTS)/.installed: tests/clients/requirements.lock
	@$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# EVENTS kills and cuts over complete syncs; a run that broke an invariant says how to run it again.
faults: $(STAMP)
	@cd tests && $(CLEAN) ../$(BIN)/python -m faults.run --events $(or $(EVENTS),1000) \
	  --seed $(or $(SEED),1) --lanes $(or $(LANES),3) --write ../docs/reliability.md
	@$(PYTEST) -q --timeout 1800 tests/$@

# What upstream and clients send, broken at random: EXAMPLES of each kind, and CONTRACT requests to
# each operation; versions, and cleanup beside syncs, for longer; versions and publications of more
# packages; then RUNS more of what upstream sends, each made of the one before that reached something
# new (atheris).
fuzz: $(STAMP) $(FUZZ)/.installed
	@EXAMPLES=$(or $(EXAMPLES),5000) $(PYTEST) -q -n 2 --timeout 0 --hypothesis-profile fuzz \
	  tests/unit/test_fuzz.py tests/services/test_api_fuzz.py
	@DEBFLEET_TEST_CONTRACT_EXAMPLES=$(or $(CONTRACT),30) $(PYTEST) -q -n 2 --timeout 0 \
	  tests/services/test_contract.py
	@DEBFLEET_TEST_MODEL_STEPS=500 $(PYTEST) -q --timeout 0 tests/services/test_version_model.py
	@DEBFLEET_TEST_TIMES=20 $(PYTEST) -q -n 2 --timeout 0 tests/services/test_orphans*.py
	@DEBFLEET_TEST_SCALE=60000 $(PYTEST) -q tests/services/test_*_scale.py
	@cd tests && PYTHONPATH=fuzz/.engine ../$(BIN)/python -m fuzz.run --runs $(or $(RUNS),100000)

$(FUZZ)/.installed: tests/fuzz/requirements.lock $(STAMP)
	@rm -rf $(FUZZ)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --only-binary :all: --target $(FUZZ) -r $< || { \
	  echo 'the engine of the fuzzers has no build for this Python: use 3.11 (make PYTHON=python3.11 …)'; exit 1; }
	@touch $@

rabbitmq prometheus:
	@.ci/$@

kubectl: $(STAMP)
	@.ci/kubectl

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --no-emit-index-url \
	  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) \
	  -o tests/clients/requirements.lock tests/clients/requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) \
	  -o tests/fuzz/requirements.lock tests/fuzz/requirements.in

clean:
	rm -rf .venv $(CLIENTS) $(FUZZ) .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
