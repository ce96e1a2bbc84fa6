# `make demo` shows the whole thing; `make test` is what a change must pass. Both install missing system packages first.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench soak

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## Install the system packages that building needs (Debian, Ubuntu)
	@tests/setup.sh build

demo: setup ## Two people talk under one-time pad, in 90 seconds; choices: make demo ARGS=--help
	@cargo run --locked --release -p vernam -- demo $(ARGS)

test: ## Formatting, lints, documentation, every test, the audit of dependencies
	@tests/setup.sh test
	@tests/check.sh

bench: setup ## How fast sealing, calls, links and KMEs are, beside bare ones in one run; one part: make bench PART=call
	@cargo bench --locked -p vernam-tests --bench ratios -- $(PART)

soak: ## Hundreds of kills and faults: KMEs, files on their way; a call of ten minutes; choices: make soak TIMES=1000 PART=files
	@tests/setup.sh test
	@VERNAM_SOAK=$(or $(TIMES),300) cargo test --locked --release -p vernam-tests --test all -- \
		--ignored --nocapture --test-threads 1 $(or $(PART:%=%::soak),crash::soak calls::soak files::soak)
