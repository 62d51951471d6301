# The usual words for the cargo commands; `make help` lists them.
.PHONY: help build run test test-coverage fmt lint bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the release binary, target/release/evenkeel
	cargo build --release --locked

run: ## the demo: three backends and a balancer
	cargo run --release --locked -- demo

test: ## every test
	cargo test --workspace --locked

test-coverage: ## every test, with a coverage report in target/llvm-cov/html
	@cargo llvm-cov --version >/dev/null 2>&1 || { \
		echo "cargo-llvm-cov is missing; get it with:" >&2; \
		echo "  rustup component add llvm-tools && cargo install cargo-llvm-cov --locked" >&2; \
		exit 1; }
	cargo llvm-cov --workspace --locked --html

fmt: ## format the code
	cargo fmt --all

lint: ## format check, clippy, house rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask tidy

bench: ## the benchmarks of the pure code
	cargo bench --package evenkeel-core --locked

clean: ## remove everything that was built
	cargo clean
