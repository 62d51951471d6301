#!/usr/bin/env bash
# Runs every test, the house rules among them; words go on to `cargo test`:
#   scripts/test.sh                       everything
#   scripts/test.sh -p evenkeel-core      one package
#   scripts/test.sh -- --nocapture        with the output of the tests
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$ROOT"
case "${1:-}" in
  -p | --package) exec cargo test --locked "$@" ;;
  *) exec cargo test --workspace --locked "$@" ;;
esac
