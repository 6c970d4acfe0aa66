"""What KubeRay's kinds take, for checking rendered manifests where no CRD file is at hand.

The fields are those of KubeRay's published API reference (docs.ray.io, v1.6.2) and of its Go types, from which the
CRDs are generated. Unknown fields are refused, as the API server does. Parts of Kubernetes itself (`k8s:`) are checked
by the package kubernetes-validate where it is installed.

With the CRD files themselves (helm-chart/kuberay-operator/crds of a KubeRay release) the whole is checked:
    RAYSMITH_KUBERAY_CRDS=FOLDER pytest tests/test_rendered_clusters.py
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jsonschema
import yaml

TYPES = {
    "RayCluster": "spec!:RayClusterSpec",
    "RayJob": "spec!:RayJobSpec",
    "RayService": "spec!:RayServiceSpec",
    "RayClusterSpec": "upgradeStrategy:object authOptions:AuthOptions suspend:bool managedBy:str "
    "autoscalerOptions:AutoscalerOptions headServiceAnnotations:strings enableInTreeAutoscaling:bool "
    "gcsFaultToleranceOptions:GcsFaultToleranceOptions headGroupSpec!:HeadGroupSpec rayVersion:str "
    "workerGroupSpecs:[WorkerGroupSpec]",
    "AuthOptions": "enableK8sTokenAuth:bool secretName:str mode:disabled|token",
    "AutoscalerOptions": "resources:object image:str imagePullPolicy:str securityContext:object "
    "idleTimeoutSeconds:int upscalingMode:Default|Aggressive|Conservative version:v1|v2 env:[object] envFrom:[object] "
    "volumeMounts:[object] command:[str] args:[str]",
    "GcsFaultToleranceOptions": "redisUsername:RedisCredential redisPassword:RedisCredential "
    "externalStorageNamespace:str redisAddress!:str",
    "RedisCredential": "valueFrom:object value:str",
    "HeadGroupSpec": "template!:k8s:PodTemplate headService:object enableIngress:bool resources:strings labels:strings "
    "rayStartParams:strings serviceType:ClusterIP|NodePort|LoadBalancer|ExternalName",
    "WorkerGroupSpec": "suspend:bool groupName!:str replicas:int minReplicas!:int maxReplicas!:int "
    "idleTimeoutSeconds:int resources:strings labels:strings rayStartParams:strings template!:k8s:PodTemplate "
    "scaleStrategy:object numOfHosts:int",
    "RayJobSpec": "activeDeadlineSeconds:int backoffLimit:int preRunningDeadlineSeconds:int "
    "rayClusterSpec:RayClusterSpec submitterPodTemplate:k8s:PodTemplate metadata:strings clusterSelector:strings "
    "submitterConfig:object managedBy:str deletionStrategy:object entrypoint:str runtimeEnvYAML:str jobId:str "
    "submissionMode:K8sJobMode|HTTPMode|InteractiveMode|SidecarMode entrypointResources:str entrypointNumCpus:number "
    "entrypointNumGpus:number ttlSecondsAfterFinished:int shutdownAfterJobFinishes:bool suspend:bool",
    "RayServiceSpec": "rayClusterDeletionDelaySeconds:int serviceUnhealthySecondThreshold:int "
    "deploymentUnhealthySecondThreshold:int serveService:object upgradeStrategy:RayServiceUpgradeStrategy "
    "serveConfigV2:str rayClusterConfig:RayClusterSpec excludeHeadPodFromServeSvc:bool suspend:bool",
    "RayServiceUpgradeStrategy": "type:NewCluster|None|NewClusterWithIncrementalUpgrade clusterUpgradeOptions:object",
}
_PLAIN: dict[str, dict[str, Any]] = {
    "str": {"type": "string"}, "int": {"type": "integer"}, "bool": {"type": "boolean"}, "number": {"type": "number"},
    "object": {"type": "object"}, "strings": {"type": "object", "additionalProperties": {"type": "string"}},
}  # fmt: skip


def _schema(kind: str) -> dict[str, Any]:
    if kind.startswith("["):
        return {"type": "array", "items": _schema(kind[1:-1])}
    if kind.startswith("k8s:"):
        return _PLAIN["object"]
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind not in TYPES:
        return {"enum": kind.split("|")}
    fields = [field.partition(":")[::2] for field in TYPES[kind].split()]
    return {
        "type": "object",
        "properties": {name.rstrip("!"): _schema(of) for name, of in fields},
        "required": [name.rstrip("!") for name, _ in fields if name.endswith("!")],
        "additionalProperties": False,
    }


def crd_schema(kind: str) -> dict[str, Any]:
    """The known fields as a CRD states them: unknown ones are refused by the API server, not by the schema."""

    def loose(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: loose(value) for key, value in node.items() if (key, value) != ("additionalProperties", False)}
        return node

    schema = _schema(kind)
    schema["properties"] |= {"apiVersion": _PLAIN["str"], "kind": _PLAIN["str"], "metadata": _PLAIN["object"]}
    found: dict[str, Any] = loose(schema)
    return found


def check_fields(manifest: dict[str, Any]) -> None:
    """See that a ray.io/v1 manifest has only fields that are there, of the right types."""
    schema = _schema(manifest["kind"])
    schema["properties"] |= {"apiVersion": {"const": "ray.io/v1"}, "kind": {}, "metadata": {"required": ["name"]}}
    jsonschema.validate(manifest, schema)


def has_kubernetes_schemas() -> bool:
    """Whether the package with Kubernetes' own schemas is installed."""
    return importlib.util.find_spec("kubernetes_validate") is not None


def check_kubernetes(manifest: dict[str, Any]) -> None:
    """Check what Kubernetes itself defines: a whole manifest, or the pod templates in one of KubeRay's."""
    import kubernetes_validate

    latest = kubernetes_validate.latest_version()
    if not manifest["apiVersion"].startswith("ray.io/"):
        kubernetes_validate.validate(manifest, latest, strict=True)
        return
    spec = manifest["spec"]
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}
        kubernetes_validate.validate(pod, latest, strict=True)


def check_crd(manifest: dict[str, Any], folder: Path) -> None:
    """Check a manifest against KubeRay's CRD files, unknown fields refused."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    (crd,) = [one for one in crds if one["spec"]["names"]["kind"] == manifest["kind"]]
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
    schema = _strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(manifest, schema)


def _strict(node: Any) -> Any:
    """A structural schema as the API server applies it with strict field validation."""
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _strict(value) for key, value in node.items() if key != "format"}
    if found.get("x-kubernetes-int-or-string") is True:
        return {"type": ["integer", "string"]}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        loose = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
        found |= {} if loose else {"additionalProperties": False}
    return found
