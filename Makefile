.DEFAULT_GOAL := help
.PHONY: help run test check bench crash-long retagged-long format lock clean

VENV := .venv
YARRR := $(VENV)/bin/yarrr
PYTHON := $(VENV)/bin/python

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/run.done ## Install what is needed, migrate, serve on http://127.0.0.1:8080 with data in ./var
	$(YARRR) serve

test: $(VENV)/test.done ## Install what is needed, pass the checks and all tests
	$(MAKE) check
	$(PYTHON) -m pytest -n 2 --dist loadgroup

check: $(VENV)/test.done ## Formatting, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/test.done ## Format, and fix what can be fixed
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

crash-long: $(VENV)/test.done ## 200 crashes and 60 power losses under load (the normal run has 40 and 8)
	YARRR_TEST_CRASH_CYCLES=200 YARRR_TEST_POWER_ROUNDS=60 $(PYTHON) -m pytest tests/e2e/test_crash.py tests/e2e/test_power_loss.py

retagged-long: $(VENV)/test.done ## 1,000 copies with other tags are recognised (the normal run has 100)
	YARRR_TEST_RETAGGED=1000 $(PYTHON) -m pytest tests/e2e/test_analyse.py -k same_music

bench: $(VENV)/bench.done ## Measure the service beside its peers (about 20 minutes)
	$(PYTHON) -m bench

lock: $(VENV)/test.done ## Pin the newest versions that pyproject.toml allows
	scripts/lock

clean: ## Remove everything that was installed or built; data in ./var stays
	rm -rf $(VENV) tests/e2e/clients/node_modules .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/%.done: scripts/setup pyproject.toml requirements/%.txt
	scripts/setup $*
	@touch $@

$(VENV)/test.done: tests/e2e/clients/package-lock.json
