#!/usr/bin/env bash
# The manifests in a cluster of kind: both folders come up beside each other, a rolling restart under
# load loses nothing, a changed ConfigMap is read, and the accounts may do what they should and no more.
# Needs docker, kind, kubectl and the image evenkeel:latest. No cluster was at hand: it has not been run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

name=evenkeel-check
tidy_up() {
  code=$?
  if [ "$code" -ne 0 ]; then
    echo "check-kind: FAILED" >&2
    kubectl get pods,events >&2 || true
  fi
  kind delete cluster --name "$name" >/dev/null 2>&1 || true
}
trap tidy_up EXIT
cd "$ROOT"

kind create cluster --name "$name" --wait 120s
kind load docker-image evenkeel:latest --name "$name"

# The backend that both configurations name.
kubectl apply -f - <<'END'
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 2
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      containers:
        - name: app
          image: evenkeel:latest
          imagePullPolicy: Never
          args: [testserver, --listen, "0.0.0.0:8080"]
---
apiVersion: v1
kind: Service
metadata: { name: app }
spec:
  selector: { app: app }
  ports: [{ port: 8080 }]
END
kubectl rollout status deployment/app --timeout=120s

come_up() {
  kubectl apply -f deployments/kubernetes/ -f k8s/
  for deployment in gobalancer go-loadbalancer; do
    kubectl rollout status "deployment/$deployment" --timeout=120s
  done
  kubectl get pods -l app=gobalancer
  kubectl get svc gobalancer
}

# A pod that sends requests and fails if one of them does.
restart_under_load() {
  kubectl run load --image=evenkeel:latest --image-pull-policy=Never --restart=Never -- \
    bench http://gobalancer/ -z 60s -c 4 -disable-keepalive -quiet
  kubectl wait --for=condition=Ready pod/load --timeout=60s
  kubectl rollout restart deployment/gobalancer
  kubectl rollout status deployment/gobalancer --timeout=120s
  kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/load --timeout=120s
}

config_is_read() {
  kubectl get configmap gobalancer -o yaml | sed 's/least_connections/round_robin/' | kubectl apply -f -
  # The kubelet looks every minute or so.
  wait_for 180 sh -c 'kubectl logs deployment/gobalancer | grep -q config_reloaded' || die "not read"
}

may() {
  local wanted="$1" account="system:serviceaccount:default:$2"
  shift 2
  local told
  told="$(kubectl auth can-i "$@" --as="$account" || true)"
  [ "$told" = "$wanted" ] || die "$account: $*: $told"
}

rights() {
  may yes gobalancer list endpointslices.discovery.k8s.io
  may yes gobalancer update leases.coordination.k8s.io/gobalancer
  may no gobalancer update leases.coordination.k8s.io/other
  may no gobalancer get pods
  may no gobalancer get secrets
  may no gobalancer patch deployments.apps/app --subresource=scale
  may yes go-loadbalancer patch deployments.apps/app --subresource=scale
  may no go-loadbalancer patch deployments.apps/app
}

for step in come_up restart_under_load config_is_read rights; do
  "$step"
  say "$step: holds"
done
