SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
# Without compiled modules every daemon and every worker of the tests would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-run setup-test setup-docs system demo test test-fresh test-releases test-long mutants bench screenshot \
	check unit lint types deb test-deb docs format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

setup: setup-run ## make .venv, with what the agent and the demo need

setup-run setup-test setup-docs: setup-%:
	@tools/setup-python $*

system: ## install the Debian packages that the test bed runs on, and start none (root, Debian)
	@tools/setup-system

demo: system setup ## the main job, end to end, on real parts (root, Debian)
	@$(BIN)/python -m testbed.demo --out build/demo

test: system check ## every test, on real parts too (root, Debian)
	@echo "test: the simulated Cloudlab, as foreign clients and ours see it"
	@$(BIN)/pytest -q -n 4 tests/testbed
	@echo "test: kills and faults against the simulated Cloudlab (all of them: make test-long)"
	@$(BIN)/pytest -q -n 3 tests/faults
	@echo "test: fresh clones, and the pins, with each Python that is here (clean Debians: make test-fresh)"
	@$(BIN)/pytest -q -n 2 --dist worksteal tests/fresh
	@echo "test: the system tests, on a real Slurm, sshd and Prometheus"
	@$(BIN)/pytest -q -n 4 --dist worksteal tests/system

test-fresh: system setup-test ## the lines of README.md and docs/install.md on clean Debians; SUITES=... (root, Debian, 2 hours)
	@$(BIN)/python -m testbed.fresh $(SUITES)

test-releases: system setup-test ## the Slurm tests on 24.11, 26.05 and 25.11 (SLURM_PREFIX); RELEASES=... (root, Debian)
	@$(BIN)/python -m testbed.releases $(RELEASES)

test-long: system setup-test ## properties, faults, kills and random revocations, exhaustively: an hour and more (root, Debian)
	@echo "test-long: every property, with many random examples"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q -n auto --timeout 1800 tests/unit
	@echo "test-long: every kill point, many fault schedules"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q -n auto --timeout 600 tests/faults
	@echo "test-long: random revocations of random queues, on a real Slurm"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q tests/system/test_draining_jobs.py tests/system/test_draining_daemon.py \
		tests/system/test_draining_every_kind.py
	@echo "test-long: what the queue wants, against a real slurmctld in every configuration"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q -n 2 --dist worksteal tests/system/test_demand_oracle.py

mutants: setup-test ## change decisions line by line, and see that unit tests notice; MODULES=... (an hour)
	@$(BIN)/python -m tools.mutants $(MODULES)

bench: system setup-test ## what reading Slurm, plans and revocations cost, beside other ways (root, Debian, many minutes)
	@$(BIN)/python -m bench.read_slurm
	@$(BIN)/python -m bench.plan_growth
	@$(BIN)/python -m bench.submit_policy
	@$(BIN)/python -m bench.poke
	@$(BIN)/python -m bench.command_line
	@$(BIN)/python -m bench.revocations --out build/bench/revocations.md
	@$(BIN)/python -m bench.replay --out build/bench/replay.md

screenshot: system setup-test ## make docs/status-page.png anew, from a real daemon in a real browser (root, Debian)
	@$(BIN)/pytest -q tests/system/test_agent_page.py
	@cp build/status-page.png docs/status-page.png

check: lint types unit ## lint, types and unit tests: no root, no daemons

lint: setup-test
	@echo "check: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .

types: setup-test
	@echo "check: mypy"
	@$(BIN)/mypy

unit: setup-test
	@echo "check: unit tests"
	@$(BIN)/pytest -q -n 3 --dist worksteal tests/unit

deb: ## a Debian package in build/deb, for the Debian that this machine runs (Debian)
	@tools/build-deb build/deb

test-deb: system setup-test ## make that package, and install, start, upgrade and purge it on clean machines (root, Debian)
	@tools/setup-machines "$$(. /etc/os-release && echo "$$VERSION_CODENAME")"
	@$(BIN)/pytest -q --timeout 900 tests/packaging

docs: setup-docs ## the documents as a web site in build/site, with no broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

format: setup-test ## let ruff mend what it can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

lock: setup-test ## pin the newest versions that pyproject.toml allows, in requirements
	@tools/lock --upgrade

clean: ## remove what the other targets made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
