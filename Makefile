# Each target is a script, run the same way by hand, by make and by CI.
.DEFAULT_GOAL := help
.PHONY: help run test check bench autobahn env clean

help: ## Show what can be done
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: ## Start the chat demo at http://localhost:8000
	@scripts/run

test: ## Install what is needed and run every test
	@scripts/test

check: ## Lint, formatting and types
	@scripts/check

bench: ## Measure against other servers; writes docs/benchmarks.md
	@scripts/bench

autobahn: ## Run the Autobahn test suite against the server; needs Python 2.7
	@scripts/autobahn

env: ## Make the environment in .venv (run, test, check and bench do it by themselves)
	@scripts/env dev

clean: ## Remove the environment and everything built
	rm -rf .venv benchmarks/.build tests/autobahn/.build tests/integration/node/node_modules js/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
