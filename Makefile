# SPDX-License-Identifier: Apache-2.0
# Every goal needs nothing before it: Python packages go to .venv, system packages that are missing
# are installed with apt (or named, with the command to run, where that is not possible).
#
#   make demo    the whole road on simulated transactions; on your own:
#                make demo DATA=transactions.parquet CONFIG=tinyfin.toml
#   make test    what continuous integration runs
#   make soak    a million events over two emulated terminals, with faults and restarts (SOAK: more
#                options of `tinyfin hil run`)
#   make fleet-demo  ninety days of 2,000 simulated terminals and two emulated ones: drift, a request,
#                a bad candidate halted, a good one in service everywhere
#   make test-loaded  the tests with deadlines, TIMES times (10) while every core is busy
#   make nightly what takes too long for every change: the shipped models learned anew and held to
#                their gates, attacks, soak, fuzz, test-loaded (STAGES: some of them)
#   make bench   sizes and instructions on the targets, and the features against Polars and pandas
#   make attacks what an attacker can do to the reference model (ATTACKS: some of them)
#   make notebooks  execute the notebooks anew and write their outputs into them
#   make powercut  STEPS of random power cuts over the slots (10,000,000), and STATES of a small flash
#   make statecut  the same over the state log
#   make auditcut  the same over the audit log
#   make killtest  the emulated terminal killed KILLS times (2000) while packs are replaced, and while
#                it keeps what it learns
#   make fuzz    fuzz targets under sanitizers, FUZZ_SECONDS each
#   make modelfuzz  RUNS damaged files of models (15,000) of each kind that quantize --model reads
#   make clean   removes everything that the others made, but for your runs in runs/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 60
TIMES ?= 10
DAY_S := 86400
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
need = $(BIN)/python .ci/requirements.py $(1) >$@.txt && $(PIP) -r $@.txt

native := $(wildcard firmware/lib/tinyfin/src/*.[ch] firmware/lib/tinyfin/src/*/*.[ch] firmware/lib/tinyfin/include/*.h tinyfin/twin/*.cpp tinyfin/twin/*.[ch])

export PLATFORMIO_SETTING_ENABLE_TELEMETRY := no
export PLATFORMIO_DISABLE_UPGRADE_CHECK := true

.PHONY: demo fleet-demo test test-loaded nightly lint rig soak bench attacks notebooks fuzz modelfuzz powercut statecut auditcut killtest clean install system-demo system-test system-loaded system-bench system-fuzz
.DELETE_ON_ERROR:

demo: system-demo install
	$(BIN)/tinyfin demo $(if $(DATA),--data $(DATA)) $(if $(CONFIG),--config $(CONFIG))

# the firmware that the tests build is compiled with -Werror
test: export TINYFIN_WERROR := 1
test: system-test lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)
	$(if $(TESTS),,$(MAKE) rig)

# the emulated rig: two targets at once, once on a clean line and once on a bad one with restarts
rig: system-test install
	$(BIN)/tinyfin hil run --suite parity --suite hostile --events 600

test-loaded: system-test system-loaded install
	$(BIN)/python .ci/loaded.py $(TIMES)

nightly: system-demo system-test system-loaded system-fuzz install
	$(BIN)/python .ci/nightly.py $(STAGES)

soak: system-test install
	$(BIN)/tinyfin hil run --suite soak --out hil/results/soak $(SOAK)

lint: system-test install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	files=$$(git ls-files '*.c' '*.h' '*.cpp') && $(BIN)/clang-format --dry-run -Werror $$files

fleet-demo: system-demo system-test install
	$(BIN)/python -m benchmarks.fleet_demo

bench: system-bench install $(VENV)/.bench
	$(BIN)/python -m benchmarks $(TARGETS)

attacks: install
	$(BIN)/python -m benchmarks.attacks $(ATTACKS)

notebooks: system-demo install $(VENV)/.notebooks
	$(BIN)/python .ci/notebooks.py

powercut: system-test install
	POWERCUT_STEPS=$(or $(STEPS),10000000) POWERCUT_STATES=$(or $(STATES),20000) $(BIN)/python -m pytest -q -s --timeout=$(DAY_S) tests/engine/test_power_cuts.py -k violate_nothing

statecut: system-test install
	STATECUT_STEPS=$(or $(STEPS),10000000) $(BIN)/python -m pytest -q -s --timeout=$(DAY_S) tests/engine/test_state_cuts.py -k comes_back

auditcut: system-test install
	AUDITCUT_STEPS=$(or $(STEPS),10000000) $(BIN)/python -m pytest -q -s --timeout=$(DAY_S) tests/engine/test_audit_cuts.py -k any_cut

killtest: system-test install
	KILLS=$(or $(KILLS),2000) STATE_KILLS=$(or $(KILLS),2000) $(BIN)/python -m pytest -q -s --timeout=$(DAY_S) tests/wire/test_install.py tests/wire/test_state_log.py -k kill

fuzz: system-fuzz
	firmware/test/fuzz.sh $(FUZZ_SECONDS)

modelfuzz: install
	OWN_MODEL_RUNS=$(or $(RUNS),15000) $(BIN)/python -m pytest -q -s --timeout=$(DAY_S) tests/quantization/own_models/test_hostile_files.py -k no_bytes

install: $(VENV)/.installed $(VENV)/.native
	@$(BIN)/python .ci/editable.py

system-demo system-test system-loaded system-bench system-fuzz: system-%:
	@$(PYTHON) .ci/bootstrap.py $*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Foreign packages that have no wheel are built in an environment of their own, which pip makes.
# tinyfin itself is compiled with the pinned tools of $(VENV), so that a change of the engine
# needs no network.
$(VENV)/.installed: pyproject.toml constraints.txt .ci/requirements.py | $(VENV)/bin/python
	@echo "installing Python packages into $(VENV); the first time takes a minute or two"
	$(call need,build-system dependencies train build dev)
	@touch $@

$(VENV)/.bench $(VENV)/.notebooks: $(VENV)/.%: $(VENV)/.installed
	$(call need,$*)
	@touch $@

$(VENV)/.native: $(VENV)/.installed CMakeLists.txt $(native)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist .pio .mypy_cache .ruff_cache .pytest_cache .hypothesis compile_commands.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf *.egg-info
