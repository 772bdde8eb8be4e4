"""CRUD, watch and patch with the Python client. Arguments: kubeconfig, namespace."""

import sys

from kubernetes import client, config, watch
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


def main(kubeconfig, namespace):
    config.load_kube_config(kubeconfig)
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    assert client.VersionApi().get_code().minor == "36"
    config_maps(core, namespace)
    pages(core, namespace)
    deployments(apps, core, namespace)
    print("done")


main(*sys.argv[1:])
