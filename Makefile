# "make" and "make help" list what there is. Set PYTHON to choose the interpreter of the set-up.

.DEFAULT_GOAL := help

# Tests wait much: three processes are good for two cores. Each file is one process's, see
# tests/conftest.py.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 3 ] && n=3; [ $$n -gt 4 ] && n=4; echo $$n)
PARALLEL := -n $(WORKERS)
# What the targets start is started thousands of times: where nothing may be written down, Python
# compiles it all again each time, which makes the tests a third slower.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-training test test-fast fuzz test-www kind-test airflow-versions lint \
    lock clean

help: ## list the targets
	@echo "HOGAR: ML serving graphs on Airflow"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS='|' read -r target text; do printf '%-21s %s\n' "$$target" "$$text"; done

setup: ## make .venv with the pinned versions (the other targets do so by themselves)
	@PYTHON="$(PYTHON)" scripts/setup.sh

demo: setup ## start Airflow, deploy the example graph, send it a spoken sentence (EXIT=1: then stop)
	@exec .venv/bin/python scripts/demo.py $(if $(filter-out 0,$(EXIT)),--exit)

demo-training: setup ## the same with a graph whose classifier is trained first, epoch by epoch
	@exec .venv/bin/python scripts/demo.py --training $(if $(filter-out 0,$(EXIT)),--exit)

test: lint test-www ## lint, type check and run the whole test suite (some minutes: it starts real Airflow)
	@scripts/test_tools.sh
	@scripts/test_browser.sh
	@scripts/test_containers.sh
	@scripts/test_peers.sh
	.venv/bin/python -m pytest $(PARALLEL)

test-fast: setup ## run the tests that need no Airflow service
	.venv/bin/python -m pytest $(PARALLEL) -m "not slow"

fuzz: setup ## draw other examples for the tests that have drawn ones (ROUNDS=10 times)
	@for round in $$(seq $(or $(ROUNDS),1)); do .venv/bin/python -m pytest $(PARALLEL) -m hypothesis \
	    --hypothesis-profile=drawn || exit; done

test-www: setup ## check, build and test the live view's front end
	.venv/bin/python scripts/build_www.py test

kind-test: setup ## try the kubernetes engine on a cluster of kind (needs kind, kubectl, docker)
	@scripts/kind_test.sh

airflow-versions: setup ## run the provider's tests with older Airflows (VERSIONS, TESTS choose)
	@scripts/airflow_versions.sh

lint: setup ## check style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lock: setup ## resolve requirements.lock anew from setup.cfg
	@scripts/lock.sh

clean: ## remove everything that the other targets have made
	@scripts/clean.sh
