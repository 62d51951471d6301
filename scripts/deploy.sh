#!/usr/bin/env bash
# Applies deployments/kubernetes with an image, waits, and goes back if it does not come up:
#   scripts/deploy.sh IMAGE
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

image="${1:?usage: deploy.sh IMAGE}"
patience="${DEPLOY_TIMEOUT:-300s}"
kubectl kustomize "$ROOT/deployments/kubernetes" |
  sed "s#image: evenkeel:latest#image: $image#" | kubectl apply -f -
if ! kubectl rollout status deployment/gobalancer --timeout="$patience"; then
  kubectl rollout undo deployment/gobalancer
  kubectl rollout status deployment/gobalancer --timeout="$patience"
  die "$image did not come up; the one before serves again"
fi
say "$image serves"
