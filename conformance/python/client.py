"""CRUD, watch, patch and apply of ten kinds with the Python client. Arguments: kubeconfig, namespace."""

import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException


def refused(status, call):
    try:
        call()
    except ApiException as error:
        assert error.status == status, f"wanted {status}, got {error.status}: {error.body}"
        return
    raise AssertionError(f"wanted {status}, but it went well")


def config_maps(core, namespace):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="python", labels={"by": "python"}), data={"a": "1"})
    made = core.create_namespaced_config_map(namespace, body)
    assert made.metadata.uid and made.metadata.creation_timestamp
    refused(409, lambda: core.create_namespaced_config_map(namespace, body))
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    made.data = {"a": "2"}
    replaced = core.replace_namespaced_config_map("python", namespace, made)
    assert replaced.data == {"a": "2"}
    refused(409, lambda: core.replace_namespaced_config_map("python", namespace, made))
    patched = core.patch_namespaced_config_map("python", namespace, {"data": {"b": "3", "a": None}})
    assert patched.data == {"b": "3"}, patched.data
    patched = core.patch_namespaced_config_map("python", namespace, [{"op": "add", "path": "/data/c", "value": "4"}])
    assert patched.data == {"b": "3", "c": "4"}, patched.data
    core.delete_namespaced_config_map("python", namespace)
    refused(404, lambda: core.read_namespaced_config_map("python", namespace))

    seen = []
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=start, label_selector="by=python", timeout_seconds=20
    )
    for event in stream:
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            break
    kinds = [kind for kind, _ in seen]
    assert kinds == ["MODIFIED", "MODIFIED", "MODIFIED", "DELETED"], seen
    assert seen[0][1] == {"a": "2"}, seen


def pages(core, namespace):
    for number in range(7):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"page-{number}", "labels": {"paged": "yes"}}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="paged", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(7)], names
    core.delete_collection_namespaced_config_map(namespace, label_selector="paged")
    assert not core.list_namespaced_config_map(namespace, label_selector="paged").items


def deployments(apps, core, namespace):
    labels = {"app": "python"}
    apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="python"),
            spec=client.V1DeploymentSpec(
                replicas=2,
                selector=client.V1LabelSelector(match_labels=labels),
                template=client.V1PodTemplateSpec(
                    metadata=client.V1ObjectMeta(labels=labels),
                    spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="nginx")]),
                ),
            ),
        ),
    )
    stream = watch.Watch()
    for event in stream.stream(apps.list_namespaced_deployment, namespace, timeout_seconds=50):
        if event["object"].status.ready_replicas == 2:
            stream.stop()
    assert apps.read_namespaced_deployment("python", namespace).status.ready_replicas == 2
    pods = core.list_namespaced_pod(namespace, label_selector="app=python").items
    assert len(pods) == 2 and all(pod.status.pod_ip for pod in pods)
    assert core.read_namespaced_pod_log(pods[0].metadata.name, namespace)
    apps.patch_namespaced_deployment_scale("python", namespace, {"spec": {"replicas": 1}})
    assert apps.read_namespaced_deployment_scale("python", namespace).spec.replicas == 1
    apps.delete_namespaced_deployment("python", namespace, propagation_policy="Foreground")


POD = {"containers": [{"name": "c", "image": "nginx"}]}
TEMPLATE = {"metadata": {"labels": {"app": "dynamic"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "dynamic"}}
JOB = {"template": {"spec": {**POD, "restartPolicy": "Never"}}, "suspend": True}
KINDS = [
    ("v1", "ConfigMap", {"data": {"a": "1"}}),
    ("v1", "Secret", {"stringData": {"a": "1"}}),
    ("v1", "Service", {"spec": {"selector": {"app": "dynamic"}, "ports": [{"port": 80}]}}),
    ("v1", "ServiceAccount", {}),
    ("v1", "LimitRange", {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}),
    ("apps/v1", "Deployment", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}),
    ("apps/v1", "ReplicaSet", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}),
    ("batch/v1", "Job", {"spec": JOB}),
    ("policy/v1", "PodDisruptionBudget", {"spec": {"selector": SELECTOR, "minAvailable": 1}}),
    ("networking.k8s.io/v1", "Ingress", {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
]


def life(api, namespace, rest):
    """One object from creation to deletion, through every verb and every type of patch."""
    name, kind = "python-client", api.kind
    body = {"apiVersion": api.group_version, "kind": kind, "metadata": {"name": name, "labels": {"by": "python"}}, **rest}
    made = api.create(body=body, namespace=namespace)
    assert made.metadata.uid and made.metadata.creationTimestamp
    refused(409, lambda: api.create(body=body, namespace=namespace))
    assert api.get(name=name, namespace=namespace).metadata.uid == made.metadata.uid
    assert len(api.get(namespace=namespace, label_selector="by=python").items) == 1

    for _ in range(5):
        current = api.get(name=name, namespace=namespace).to_dict()
        current["metadata"]["labels"]["replaced"] = "yes"
        try:
            assert api.replace(body=current, namespace=namespace).metadata.labels.replaced == "yes"
            break
        except ApiException as error:
            assert error.status == 409, error.body
    stale = {**current, "metadata": {**current["metadata"], "resourceVersion": "1"}}
    refused(409, lambda: api.replace(body=stale, namespace=namespace))

    def patch(content_type, body):
        return api.patch(name=name, namespace=namespace, body=body, content_type=content_type).metadata.labels.to_dict()

    labels = patch("application/merge-patch+json", {"metadata": {"labels": {"merged": "yes", "replaced": None}}})
    assert labels == {"by": "python", "merged": "yes"}, labels
    labels = patch("application/strategic-merge-patch+json", {"metadata": {"labels": {"strategic": "yes"}}})
    assert labels["strategic"] == "yes"
    labels = patch("application/json-patch+json", [{"op": "remove", "path": "/metadata/labels/merged"}])
    assert "merged" not in labels

    def applied(labels, **options):
        wanted = {"apiVersion": api.group_version, "kind": kind, "metadata": {"name": name, "labels": labels}}
        return api.server_side_apply(body=wanted, name=name, namespace=namespace, field_manager="python-apply", **options)

    after = applied({"applied": "yes"})
    assert after.metadata.labels.applied == "yes"
    managers = [(entry.manager, entry.operation) for entry in after.metadata.managedFields]
    assert ("python-apply", "Apply") in managers, managers
    refused(409, lambda: applied({"by": "apply"}))
    assert applied({"by": "apply"}, force_conflicts=True).metadata.labels.by == "apply"
    assert "applied" not in api.get(name=name, namespace=namespace).metadata.labels.to_dict()

    api.delete(name=name, namespace=namespace, propagation_policy="Background", grace_period_seconds=0)
    kinds = []
    for event in api.watch(namespace=namespace, name=name, resource_version=made.metadata.resourceVersion, timeout=20):
        kinds.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert kinds[0] == "MODIFIED" and kinds[-1] == "DELETED", kinds
    refused(404, lambda: api.get(name=name, namespace=namespace))


def ten_kinds(namespace):
    resources = dynamic.DynamicClient(client.ApiClient()).resources
    for api_version, kind, rest in KINDS:
        try:
            life(resources.get(api_version=api_version, kind=kind), namespace, rest)
        except Exception as error:
            raise AssertionError(f"{kind}: {error}") from error


def main(kubeconfig, namespace):
    config.load_kube_config(kubeconfig)
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    assert client.VersionApi().get_code().minor == "36"
    config_maps(core, namespace)
    pages(core, namespace)
    deployments(apps, core, namespace)
    ten_kinds(namespace)
    print("done")


main(*sys.argv[1:])
