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
NAME ?=
export MLFLOW_DISABLE_TELEMETRY ?= true

RUN_OPTIONS = $(if $(METHODS),--methods "$(METHODS)") $(if $(SEEDS),--seeds $(SEEDS)) $(if $(DEVICE),--device $(DEVICE)) $(if $(JOBS),--jobs $(JOBS)) \
  $(if $(DATA),--data "$(DATA)") $(foreach change,$(SET),--set "$(change)") \
  $(foreach file,$(WEIGHTS),--weights "$(file)")

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo tables tables-check report docs ui test perf lint format

help:  ## this list
	@awk -F ':.*## ' '/^[^\t#]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp  ## what running needs, in .venv; the first call of a target does it
setup-dev: $(VENV)/.stamp-dev  ## what test, lint, docs, perf and format need beside it; their first call does it

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -I bench/system/install.py $(VENV)
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp
	@$(VENV)/bin/python -I bench/system/install.py $(VENV) dev
	@touch $@

demo: setup  ## two minutes on two CPU cores, no data needed: synthetic people, every method at toy size
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

test: setup-dev  ## the fast tests, one process per core; SLOW=1 adds the slow ones
	@$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(if $(SLOW),,-m "not slow")

docs: setup-dev  ## the pages of docs/ as a site in site/, to be opened from the disk: site/index.html
	@$(VENV)/bin/zensical build --strict --clean >/dev/null
	@echo "written  site/index.html"

perf: setup-dev  ## a quarter of an hour: speed and memory beside plain references; a part: make perf TOY=1 SELECT="lift or train" DEVICE=cuda
	@$(VENV)/bin/python -m perf $(if $(DEVICE),--device $(DEVICE)) $(if $(TOY),--toy) $(if $(SELECT),--select "$(SELECT)") \
	  $(if $(NAME),--runs-of "$(NAME)") $(if $(DATA),--data "$(DATA)") $(if $(SEEDS),--seeds $(SEEDS))

lint: setup-dev  ## style, types, the direction of imports, and tables that fit their records
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(BENCH) tables --check

format: setup-dev  ## rewrite the code in the house style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .
