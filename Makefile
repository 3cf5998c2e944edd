# Each target does its own set-up. A variable moves what is in the way: PLINTH_LOCAL_PORT, SPEC.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PLINTH_LOCAL_PORT ?= 4566
PYTHON := .venv/bin/python

.PHONY: demo down deploy-local lint test

demo: .venv/ready build
	$(PYTHON) -m infra.local.demo $(SPEC)

down:
	infra/local/down

test: .venv/ready
	cargo test --workspace

lint: .venv/ready tests/lint/node_modules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	.venv/bin/cfn-lint infra/template.yaml
	tests/lint/node_modules/.bin/asl-validator --json-path statemachines/environment.asl.json --json-path statemachines/provision.asl.json --json-path statemachines/prune.asl.json

build:
	cargo build --workspace

.venv/ready: infra/local/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --require-hashes --requirement infra/local/requirements.txt
	touch $@

tests/lint/node_modules: tests/lint/package-lock.json
	npm ci --prefix tests/lint --silent
	touch $@
