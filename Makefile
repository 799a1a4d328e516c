# A target is what a user wants; its recipe is one call of `bench`. Bare `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BENCH := $(VENV)/bin/bench

METHODS ?=
SEEDS ?=
DEVICE ?=
JOBS ?=
DATA ?=
SET ?=
WEIGHTS ?=
PORT ?= 5000
TOY ?=
SELECT ?=
export MLFLOW_DISABLE_TELEMETRY ?= true

RUN_OPTIONS = $(if $(METHODS),--methods "$(METHODS)") $(if $(SEEDS),--seeds $(SEEDS)) $(if $(DEVICE),--device $(DEVICE)) $(if $(JOBS),--jobs $(JOBS)) \
  $(if $(DATA),--data "$(DATA)") $(foreach change,$(SET),--set "$(change)") \
  $(foreach file,$(WEIGHTS),--weights "$(file)")

.DEFAULT_GOAL := help
.PHONY: help setup demo tables tables-check report docs ui test perf lint format

help:  ## this list
	@awk -F ':.*## ' '/^[^\t#]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp  ## the environment in .venv, from scratch; done once

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	PYTHONWARNINGS=ignore $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## minutes on a laptop, no data needed: synthetic people, every method at toy size
	@$(BENCH) run demo $(RUN_OPTIONS)

bench-%: setup  ## one benchmark: make bench-cmu-gt-27 DATA=... METHODS=mixste SEEDS=3 JOBS=2 DEVICE=cuda SET="recipe.epochs=5"
	@$(BENCH) run $* $(RUN_OPTIONS)

data-%: setup  ## read a data set and say what is in it: make data-cmu DATA=...
	@$(BENCH) data describe $* $(if $(DATA),--data "$(DATA)")

verify-%: setup  ## check the files of a data set and name what is wrong: make verify-h36m DATA=...
	@$(BENCH) data verify $* $(if $(DATA),--data "$(DATA)")

tables: setup  ## rewrite the tables of README, docs/results.md and results/tables from results/
	@$(BENCH) tables

tables-check: setup  ## fail if a table is out of date
	@$(BENCH) tables --check

report: setup  ## results/report.html: tables, charts, poses in 3D; DATA=... if the cache lost the data
	@$(BENCH) report $(if $(DATA),--data "$(DATA)")

ui: setup  ## the tracked runs in a browser, on this machine only: make ui PORT=5001
	@$(BENCH) ui --port $(PORT)

test: setup  ## the fast tests; SLOW=1 adds the slow ones
	@$(VENV)/bin/python -m pytest $(if $(SLOW),-m "slow or not slow",-m "not slow")

docs: setup  ## the pages of docs/ as a site in site/, to be opened from the disk: site/index.html
	@$(VENV)/bin/zensical build --strict --clean >/dev/null
	@echo "written  site/index.html"

perf: setup  ## minutes: speed and memory beside plain references; a part: make perf TOY=1 SELECT="lift or train" DEVICE=cuda
	@$(VENV)/bin/python -m perf $(if $(DEVICE),--device $(DEVICE)) $(if $(TOY),--toy) $(if $(SELECT),--select "$(SELECT)")

lint: setup  ## style, types, the direction of imports, and tables that fit their records
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(BENCH) tables --check

format: setup  ## rewrite the code in the house style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .
