# Everything a newcomer types. Each target first installs what it needs (tools/bootstrap.sh).
BIN := .venv/bin
PYTHON ?=
export PYTHON
# Fast ones first: a slip shows soon; the lab and integration take their time. Labs mostly wait, so two
# files of them run at once, the longest from the beginning.
FAST := $(wildcard tests/test_*.py tests/unit tests/scenarios tests/simulation)
SLOW := $(wildcard tests/integration/test_campaign.py tests/lab tests/integration)

SEEDS ?= 0-9999
ROUNDS ?= 10
SEED ?= 1000

.PHONY: help ready demo test lint sim campaign bench

help:
	@echo "make demo    two nodes, a power cut, a failover and the way back, live, in two minutes (root)"
	@echo "make test    lint, types and all tests (root)"
	@echo "make lint    ruff and mypy"
	@echo "make sim     seeded lives of clusters of 2 to 7 nodes (SEEDS=0-9999)"
	@echo "make campaign  faults while a client works; nothing may be lost (ROUNDS=10 SEED=1000, 8 s a round; root)"
	@echo "make bench   what is measured by hand, a line each"

ready:
	@tools/bootstrap.sh

demo: ready
	@$(BIN)/python -m tests.lab.demo

lint: ready
	@$(BIN)/ruff check --quiet --output-format=concise
	@$(BIN)/ruff format --check --quiet || { echo "not formatted; cure: $(BIN)/ruff format"; false; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary -p tests.lab -p bench

test: lint
	@$(BIN)/pytest -q -n 2 --dist loadfile $(FAST)
	@$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=15 $(SLOW)

sim: ready
	@$(BIN)/python -m tests.simulation $(SEEDS)

campaign: ready
	@$(BIN)/python -m tests.lab.campaign $(ROUNDS) $(SEED) $(if $(PLANT),--plant $(PLANT))

bench: ready
	@for file in $$(grep -l 'python -m bench' bench/*.py); do \
	    echo "$(BIN)/python -m $$(echo "$${file%.py}" | tr / .)   $$(sed -n '1s/"//gp' "$$file")"; \
	done
