"""The part of Kustomize that infra/kubernetes uses: resources, images, a namespace, and patches that are merged.

Anything else in a kustomization is an error, so that nothing is taken for done that only the real one does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
# Lists whose items are told apart by this member; the items of others are replaced as a whole.
_KEYS = {
    "containers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}
_WITHOUT_NAMESPACE = {"Namespace"}


def build(folder: Path) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would send. Raises `ValueError` for what this does not know."""
    given = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := given.keys() - _KNOWN:
        raise ValueError(f"{folder}: {sorted(unknown)}")
    objects: list[dict[str, Any]] = []
    for name in given["resources"]:
        path = folder / name
        objects += build(path) if path.is_dir() else [each for each in yaml.safe_load_all(path.read_text()) if each]
    for patch in given.get("patches", []):
        [change] = yaml.safe_load_all((folder / patch["path"]).read_text())
        [target] = [each for each in objects if _identity(each) == _identity(change)]
        _merge(target, change)
    for image in given.get("images", []):
        used = [each for each in _containers(objects) if each["image"] == image["name"]]
        if not used:
            raise ValueError(f"{folder}: nothing runs {image['name']}")
        for container in used:
            container["image"] = f"{image['newName']}:{image['newTag']}"
    for each in objects:
        if "namespace" in given and each["kind"] not in _WITHOUT_NAMESPACE:
            each["metadata"]["namespace"] = given["namespace"]
    return objects


def _identity(each: dict[str, Any]) -> tuple[str, str, str]:
    # Patches are matched by the namespace as well, and come before it is set.
    assert "namespace" not in each["metadata"], each
    return each["apiVersion"], each["kind"], each["metadata"]["name"]


def _containers(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    return [container for pod in pods for container in pod["containers"]]


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        elif isinstance(value, list) and name in _KEYS and name in target:
            key = _KEYS[name]
            present = {each[key]: each for each in target[name]}
            for item in value:
                if item[key] in present:
                    _merge(present[item[key]], item)
                else:
                    target[name].append(item)
        else:
            target[name] = value
