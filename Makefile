# `make` lists the targets. Each installs what it lacks (.ci/install) and can be run on a bare Debian or Ubuntu with Rust.

CARGO ?= cargo
CONFIG ?= conf/portcullis.yaml

.DEFAULT_GOAL := help
.PHONY: help dev test nightly lint image bench run

help: ## This list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

# The dev profile: a release build is one piece of work for the linker and takes several times as long.
dev: ## The gateway with a stand-in for Google and an echo upstream, on http://localhost:8080
	@.ci/install build
	$(CARGO) run --locked -- dev

run: ## The gateway, optimised, with CONFIG (default: conf/portcullis.yaml)
	@.ci/install build
	$(CARGO) run --locked --release -- run --config $(CONFIG)

# Without --all-targets, which would leave out the doc tests; benchmarks are compiled by `make lint`.
test: ## All tests: unit, integration, browser, README, documentation
	@.ci/install build test
	$(CARGO) test --locked --no-fail-fast

# Each prints what it chose at random; PORTCULLIS_SEED repeats the choices of one.
nightly: ## The long forms of tests: 200 times SIGKILL while senders post, 100 000 frames and addresses, ten times as many cases of each property
	@.ci/install build
	PORTCULLIS_KILLS=200 $(CARGO) test --locked --test durability -- --nocapture
	PROPTEST_CASES=2560 $(CARGO) test --locked --lib
	PORTCULLIS_FULL_LOAD=1 $(CARGO) test --locked --test it -- limits::

lint: ## Format, Clippy, documentation, licences, Terraform, and every configuration in conf/
	@.ci/install build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: dependencies were not checked (cargo install cargo-deny)"; fi
	@set -e; for file in conf/*.yaml; do \
		GOOGLE_CLIENT_ID=1-a.apps.googleusercontent.com ZAPIER_CLIENT_ID=2-b.apps.googleusercontent.com \
		PUBLIC_URL=https://gw.example.com UPSTREAM_URL=https://up.example.com AUTHORIZED_DOMAIN=example.com \
		GOOGLE_CLOUD_PROJECT=example PARTNER_SECRET=secret \
		$(CARGO) run --locked --quiet -- check --config $$file; done
	@.ci/terraform

# Some minutes: a static release build, without the dev feature. Root tries it in an empty root as well.
image: ## The binary of the container image, built and tried without Docker
	@.ci/image

bench: ## All benchmarks; contestants that cannot be installed are left out
	@.ci/install build
	@.ci/install bench || echo "going on without"
	$(CARGO) bench --locked
	$(CARGO) build --locked
	$(CARGO) build --locked --release --no-default-features --bins --examples
	benches/wrk/compare.py
