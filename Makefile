# Thin: what there is to do is in xtask/. `make help` lists the targets.

MUSTER := cargo run --locked --package muster-cli --
BENCH  ?= --help
FLAGS  ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo dev bench test check clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

setup: ## Make sure that this machine has what a build needs
	cargo xtask setup

demo: guests ## Take two real jobs through a whole network on this machine
	$(MUSTER) demo $(FLAGS)

dev: guests ## Start a network on this machine and keep it up
	$(MUSTER) dev $(FLAGS)

bench: guests ## Run a benchmark in a release build: make bench BENCH=wasm
	cargo run --locked --release --package muster-cli -- bench $(BENCH) $(FLAGS)

test: setup ## Run every test
	cargo xtask test

check: ## Run every check, then the tests (FLAGS=--no-tests leaves them out)
	cargo xtask check $(FLAGS)

clean: ## Delete everything that was built
	cargo clean

.PHONY: guests
guests: setup
	cargo xtask guests
