# Each target does its own set-up. Variables: SPEC, PLINTH_LOCAL_PORT, CARGO_TARGET_DIR.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export PLINTH_LOCAL_PORT ?= 4566
export PYTHON ?= $(CURDIR)/.venv/bin/python
export AWS ?= $(CURDIR)/.venv/bin/aws
SPEC ?= examples/reportportal.yaml

.PHONY: demo down test lint build deploy

demo: build
	infra/local/up --waits 0.1 && infra/local/deploy && $(PYTHON) -m infra.local.demo $(SPEC)

deploy: .venv/cargo-lambda
	PATH="$(CURDIR)/.venv/bin:$$PATH" infra/deploy

down:
	infra/local/down

# All targets at once: the tests' own features of the SDK crates would have these compiled a second time.
# Tests of whole environments wait a good part of their time, so three run at once even on two processors.
test: .venv/ready
	cargo build --locked --workspace --all-targets
	RUST_TEST_THREADS=3 cargo test --locked --workspace --no-fail-fast

lint: .venv/ready tests/lint/node_modules
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	.venv/bin/cfn-lint infra/template.yaml infra/role.yaml infra/events.yaml
	$(PYTHON) infra/role.py --check
	$(PYTHON) tests/lint/limits.py --check
	for machine in statemachines/*.asl.json; do tests/lint/node_modules/.bin/asl-validator --json-path $$machine || exit 1; done
	mkdir -p .local && $(PYTHON) tests/lint/machines.py > .local/machines.json && .venv/bin/cfn-lint .local/machines.json

build: .venv/ready
	cargo build --locked --workspace

.venv/ready: infra/local/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --require-hashes --requirement infra/local/requirements.txt
	touch $@

.venv/cargo-lambda: infra/requirements.txt .venv/ready
	.venv/bin/pip install --quiet --require-hashes --requirement infra/requirements.txt
	touch $@

tests/lint/node_modules: tests/lint/package-lock.json
	npm ci --prefix tests/lint --silent
	touch $@
