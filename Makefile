# The verbs of this repository; `make` alone lists them. Every verb that runs our code prepares the machine first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo faults soak ghost bench bootstrap bootstrap-test up down status doctor migrate test check lock examples

PYTHON := .venv/bin/python
HUB := $(PYTHON) -m hub
ROOMS := $(shell sed -n "s/^command=.* -m chassis.launcher //p" deploy/local/supervisord.conf)

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bootstrap: ## install what is missing: Python packages into .venv, RabbitMQ from the distribution
	@deploy/local/bootstrap.sh

bootstrap-test:
	@deploy/local/bootstrap.sh --with-postgresql

demo: bootstrap ## show every job both ways with real systems, and an ERP that goes away; leaves everything running
	@$(HUB) demo

up: bootstrap ## start the hub on this machine: broker, services, gateway
	@$(HUB) up

down: ## stop what `make up` or `make demo` started, sandboxes too
	@if [ -x $(PYTHON) ]; then $(HUB) down; else echo "nothing was started from here"; fi

status: bootstrap ## show every process: state, since when, ready, memory
	@$(HUB) status || [ $$? -eq 3 ]

doctor: bootstrap ## look for what is wrong on this machine, and say what to do
	@$(HUB) doctor

migrate: bootstrap ## bring every service's database to the newest revision
	@$(HUB) migrate

test: bootstrap-test ## run the tests: real broker, SQLite and PostgreSQL (T=path runs a part)
ifeq ($(origin T),undefined)
	@$(PYTHON) tests/side_by_side.py -m "not faults and not ghost"
else
	@$(PYTHON) -m pytest -m "not faults and not ghost" $(T)
endif

bench: bootstrap-test ## the product against the least program that does the same, side by side; then long backlogs, and a profile
	@$(PYTHON) -m bench all --json .hub/bench.json
	@$(PYTHON) -m bench deliveries --database postgresql --json .hub/bench-postgresql.json
	@$(PYTHON) -m bench backlog --json .hub/backlog.json
	@$(PYTHON) -m bench backlog --database postgresql --json .hub/backlog-postgresql.json
	@$(PYTHON) -m bench profile

faults: bootstrap-test ## run the long suite: processes, broker and databases killed at chosen moments
	@$(PYTHON) -m pytest -v -m faults --timeout=300 --durations=15 $(or $(T),tests)

soak: bootstrap ## run HUB_SCHEDULES (100000) simulated schedules on all processors; HUB_SEED runs those of one seed again
	@$(PYTHON) -W ignore -m tests.simulation.soak

ghost: bootstrap-test ## run the newsletter adapter's tests against a real Ghost; the first run installs it, two to five minutes
	@$(PYTHON) -m pytest -m ghost $(or $(T),tests/adapters/ghost)

check: bootstrap ## lint, types, import rules, unused dependencies
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/deptry .

lock: bootstrap ## compile requirements/*.txt from pyproject.toml
	@for room in $(ROOMS) cli dev; do \
	  echo "requirements/$$room.txt"; \
	  .venv/bin/uv pip compile pyproject.toml --extra $$room --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header --quiet -o requirements/$$room.txt; \
	done

examples: bootstrap ## write deploy/*/config.yaml, env.example and docs/reference and dashboards from the code
	@for room in $(ROOMS); do \
	  mkdir -p deploy/$$room; \
	  $(PYTHON) -m hub.room_config $$room yaml > deploy/$$room/config.yaml; \
	  $(PYTHON) -m hub.room_config $$room env > deploy/$$room/env.example; \
	done
	@mkdir -p docs/reference && $(PYTHON) -m hub.room_config customers reference > docs/reference/settings.md
	@$(PYTHON) -W ignore -m hub.metrics_reference > docs/reference/metrics.md
	@$(PYTHON) -m deploy.grafana.boards
