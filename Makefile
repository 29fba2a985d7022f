# Everything goes through uv, which scripts/setup.sh brings from PyPI into .cache/tools.
UV := .cache/tools/bin/uv
RUN := $(UV) run --no-sync
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test check format lint types contracts sizes docs bench wheel clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "; print "Runyard\n\nUsage: make TARGET [ARGS=...]\n"} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install uv, the locked Python dependencies and, as root on Debian, the system packages
	@scripts/setup.sh

run: setup ## Start Runyard, print an admin token and show a first command in an isolated runtime
	@$(RUN) runyard serve --demo $(ARGS)

test: setup check ## Run every check and every test, two files at a time
	@$(RUN) pytest -n 2 --dist loadfile $(ARGS)

check: setup format lint types contracts sizes ## Check format, lint, types, import contracts and sizes

format:
	@$(RUN) ruff format --check --quiet . || { echo "run: $(RUN) ruff format ."; exit 1; }

lint:
	@$(RUN) ruff check --quiet .

types:
	@$(RUN) mypy --no-error-summary

contracts:
	@$(RUN) lint-imports --no-logo > .cache/contracts.txt || { cat .cache/contracts.txt; exit 1; }

sizes:
	@$(RUN) python scripts/check_sizes.py

docs: setup ## Write the generated reference pages again
	@$(RUN) python -m runyard.settings > docs/settings.md
	@$(RUN) python -m runyard.server.metrics > docs/metrics.md
	@$(RUN) python -m runyard.cli.docs > docs/cli.md

bench: setup ## Measure Runyard and its peers side by side and print a table of ratios
	@scripts/setup.sh --bench
	@$(RUN) python -m benchmarks $(ARGS)

wheel: setup ## Build the wheel into dist/
	@$(UV) build --wheel --out-dir dist

clean: ## Remove what the other targets made
	@rm -rf .venv .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
