"""The manifests that follow from the code: roles from what is asked of the API server, rules and the board for people.

``python deploy/manifests.py`` writes them; a test fails while they differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controller.kubernetes.access import RIGHTS, Right, Use
from controller.kubernetes.resources import PODS
from controller.settings.leader_shapes import LeaseShape

HERE = Path(__file__).parent
Document = Mapping[str, Any]

MADE = "# Made by `python deploy/manifests.py`: change what it is made from.\n"


def role(name: str, rights: Sequence[Right], kind: str = "ClusterRole") -> Document:
    """Which verbs on what, nothing else. A ClusterRole is bound where it is to hold."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "rules": rules(rights),
    }


def rules(rights: Sequence[Right]) -> list[Document]:
    return [_rule(one, one.verbs) for one in rights]


def _rule(right: Right, verbs: Sequence[str]) -> Document:
    return {"apiGroups": [right.resource.group], "resources": [right.name], "verbs": list(verbs)}


def lead_rules() -> tuple[list[Document], list[Document]]:
    """To make a Lease, and what is done with the one that there is: it alone, by its name.

    What is to be created has no name yet that a rule could hold it against
    (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).
    """
    name = LeaseShape.model_fields["name"].default
    created = [_rule(one, ["create"]) for one in rights(Use.LEAD) if "create" in one.verbs]
    others = [(one, [verb for verb in one.verbs if verb != "create"]) for one in rights(Use.LEAD)]
    return created, [{**_rule(one, verbs), "resourceNames": [name]} for one, verbs in others]


def binding(name: str, role_name: str, kind: str = "RoleBinding", role_kind: str = "ClusterRole") -> Document:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role_name},
        "subjects": [{"kind": "ServiceAccount", "name": "pennyweight", "namespace": "pennyweight"}],
    }


def rights(use: Use, *, namespaced: bool = True) -> list[Right]:
    return [one for one in RIGHTS if one.use is use and one.resource.namespaced is namespaced]


def pod_rights() -> list[Right]:
    """Where GPU exporters are, and engines that somebody else scales: pods are read there, and nothing else."""
    return [one for one in rights(Use.SEE) if one.resource is PODS]


def made() -> Iterator[tuple[Path, str]]:
    """Each file and what it says."""
    kubernetes = HERE / "kubernetes"
    nodes = [
        role("pennyweight-nodes", rights(Use.SEE, namespaced=False)),
        binding("pennyweight-nodes", "pennyweight-nodes", "ClusterRoleBinding"),
    ]
    see, act = role("pennyweight-see", rights(Use.SEE)), role("pennyweight-act", rights(Use.ACT))
    pods = role("pennyweight-pods", pod_rights())
    created, named = lead_rules()
    lead = [
        {**role("pennyweight-lead", (), "Role"), "rules": [*created, *named]},
        binding("pennyweight-lead", "pennyweight-lead", role_kind="Role"),
    ]
    yield kubernetes / "base" / "roles.yaml", _yaml(*nodes, see, pods)
    yield kubernetes / "engines" / "see" / "binding.yaml", _yaml(binding("pennyweight-see", "pennyweight-see"))
    yield kubernetes / "engines" / "pods" / "binding.yaml", _yaml(binding("pennyweight-pods", "pennyweight-pods"))
    yield kubernetes / "overlays" / "act" / "role.yaml", _yaml(act)
    yield kubernetes / "engines" / "act" / "binding.yaml", _yaml(binding("pennyweight-act", "pennyweight-act"))
    yield kubernetes / "overlays" / "high-availability" / "role.yaml", _yaml(*lead)
    yield kubernetes / "monitoring" / "rules.yaml", _yaml(_prometheus_rule())
    yield kubernetes / "monitoring" / "board.yaml", _yaml(_board())
    chart = HERE / "helm" / "pennyweight"
    parts = {
        "nodes": rules(rights(Use.SEE, namespaced=False)),
        "see": rules(rights(Use.SEE)),
        "act": rules(rights(Use.ACT)),
        "pods": rules(pod_rights()),
        "lead": {"create": created, "named": named},
    }
    yield chart / "rights.yaml", _yaml(parts)
    yield chart / "rules.yaml", _yaml({"groups": _groups()})
    yield chart / "board.json", (HERE / "grafana" / "pennyweight.json").read_text(encoding="utf-8")


def _prometheus_rule() -> Document:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "pennyweight"},
        "spec": {"groups": _groups()},
    }


def _groups() -> Any:
    return yaml.safe_load((HERE / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))["groups"]


def _board() -> Document:
    """As Grafana's sidecar finds it."""
    board = json.loads((HERE / "grafana" / "pennyweight.json").read_text(encoding="utf-8"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "pennyweight-board", "labels": {"grafana_dashboard": "1"}},
        "data": {"pennyweight.json": json.dumps(board, indent=1)},
    }


def _yaml(*documents: Document) -> str:
    return MADE + yaml.safe_dump_all(documents, sort_keys=False, width=1000)


if __name__ == "__main__":
    for path, text in made():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(HERE.parent))
