#!/bin/sh
# Tries the kubernetes engine on a real cluster: makes one with kind, in Docker, builds hogar/node
# and two models' images into it, deploys a graph with the Role of docs/kubernetes_role.yaml, asks
# it, deletes the primary's pod of a stateful operator, asks again, takes the graph down, and
# deletes the cluster. Needs kind, kubectl and docker with a network; takes some minutes.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
CLUSTER=hogar-test-$$
CONTEXT=kind-$CLUSTER

for tool in kind kubectl docker; do
    command -v "$tool" >/dev/null || {
        printf '%s\n' "$tool is missing: see https://kind.sigs.k8s.io for what the test needs." >&2
        exit 1
    }
done

folder=$(mktemp -d)
clean_up() {
    code=$?
    trap - EXIT INT TERM HUP
    if [ "$code" -ne 0 ]; then
        kubectl --context "$CONTEXT" -n graphs get pods,events 2>/dev/null || true
        cat "$folder"/home/agent.log 2>/dev/null || true
    fi
    kind delete cluster --name "$CLUSTER" || true
    rm -rf "$folder"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

docker build -t hogar/node:1 -f docker/Dockerfile .
$PYTHON scripts/kind_graph.py --write-models "$folder/models"
for model in greet count; do
    docker build -t "hogar/kind-$model:1" -f "$folder/models/$model.Dockerfile" "$folder/models"
done

# Two nodes: the pods of a stateful operator go to different ones.
cat >"$folder/cluster.yaml" <<END
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
  - role: worker
END
kind create cluster --name "$CLUSTER" --config "$folder/cluster.yaml" --wait 180s
for image in hogar/node:1 hogar/kind-greet:1 hogar/kind-count:1; do
    kind load docker-image "$image" --name "$CLUSTER"
done
kubectl --context "$CONTEXT" create namespace graphs
kubectl --context "$CONTEXT" apply -f docs/kubernetes_role.yaml

# The engine's own account, which may do what the Role says and nothing else.
umask 077
kubectl config view --raw --minify --context "$CONTEXT" >"$folder/kubeconfig"
token=$(kubectl --context "$CONTEXT" -n graphs create token hogar --duration 1h)
kubectl --kubeconfig "$folder/kubeconfig" config set-credentials hogar --token "$token" >/dev/null
kubectl --kubeconfig "$folder/kubeconfig" config set-context "$CONTEXT" --user hogar >/dev/null

$PYTHON scripts/kind_graph.py --kubeconfig "$folder/kubeconfig" --home "$folder/home" \
    --delete-pod "kubectl --context $CONTEXT -n graphs delete pod --grace-period=0 --force"
