"""The NetworkPolicy of a run: who reaches its pods, and where they may go, also where a namespace denies by default."""

from callwright.controller.desired.run import RUN_LABEL, Manifest, Run

_DASHBOARD, _METRICS = 8265, 8080
_OPERATOR = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}}


def network_policy(run: Run) -> Manifest:
    """Into the run's pods: one another, the KubeRay operator to Ray's dashboard, anybody to Ray's metrics."""
    own = {"podSelector": {"matchLabels": {RUN_LABEL: run.name}}}
    spec = {
        **own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [own]},
            {"from": [_OPERATOR], "ports": [{"port": _DASHBOARD}]},
            {"ports": [{"port": _METRICS}]},
        ],
        "egress": [{"to": [own]}, *run.config.pods.egress],
    }
    return run.manifest("networking.k8s.io/v1", "NetworkPolicy", name=run.name, stage="spec") | {"spec": spec}
