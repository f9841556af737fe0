SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help setup system demo test test-releases test-long bench check unit lint types format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

setup: .venv/.ready ## make .venv, and nothing else

.venv/.ready: pyproject.toml requirements.lock tools/setup-python
	@tools/setup-python

system:
	@tools/setup-system

demo: system setup ## the main job, end to end, on real parts (root, Debian)
	@$(BIN)/python -m testbed.demo --out build/demo

test: system check ## every test, on real parts too (root, Debian)
	@echo "test: the simulated Cloudlab, as foreign clients and ours see it"
	@$(BIN)/pytest -q -n 4 tests/testbed
	@echo "test: kills and faults against the simulated Cloudlab (all of them: make test-long)"
	@$(BIN)/pytest -q -n 2 tests/faults
	@echo "test: the system tests, on a real Slurm, sshd and Prometheus"
	@$(BIN)/pytest -q -n 2 --dist worksteal tests/system

test-releases: system setup ## the Slurm tests on 24.11, 26.05 and 25.11 (SLURM_PREFIX); RELEASES=... (root, Debian)
	@$(BIN)/python -m testbed.releases $(RELEASES)

test-long: system setup ## faults, kills and random revocations, exhaustively: many minutes (root, Debian)
	@echo "test-long: every kill point, many fault schedules"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q -n auto --timeout 600 tests/faults
	@echo "test-long: random revocations of random queues, on a real Slurm"
	@ESAGENT_LONG_TESTS=1 $(BIN)/pytest -q tests/system/test_draining_jobs.py tests/system/test_draining_daemon.py

bench: system setup ## what reading Slurm costs, and what revocations cost, beside other ways (root, Debian, many minutes)
	@$(BIN)/python -m bench.read_slurm
	@$(BIN)/python -m bench.submit_policy
	@$(BIN)/python -m bench.command_line
	@$(BIN)/python -m bench.revocations --out build/bench/revocations.md

check: lint types unit ## lint, types and unit tests: no root, no daemons

lint: setup
	@echo "check: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .

types: setup
	@echo "check: mypy"
	@$(BIN)/mypy

unit: setup
	@echo "check: unit tests"
	@$(BIN)/pytest -q -n 3 --dist worksteal tests/unit

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

lock: setup ## pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip --quiet install uv
	@$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --extra test pyproject.toml -o requirements.lock

clean: ## remove what the other targets made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
