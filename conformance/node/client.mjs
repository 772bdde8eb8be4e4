// The whole life of ten kinds with the Node client: create, read, list, watch, replace, three patches, apply, delete; and a watch by
// WebSocket.
// Arguments: kubeconfig, namespace.

import assert from "node:assert/strict";
import * as k8s from "@kubernetes/client-node";
import WebSocket from "ws";

const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

const pod = { containers: [{ name: "c", image: "nginx" }] };
const template = { metadata: { labels: { app: "node" } }, spec: pod };
const selector = { matchLabels: { app: "node" } };
const KINDS = [
  ["v1", "ConfigMap", "configmaps", { data: { a: "1" } }],
  ["v1", "Secret", "secrets", { stringData: { a: "1" } }],
  ["v1", "Service", "services", { spec: { selector: { app: "node" }, ports: [{ port: 80 }] } }],
  ["v1", "ServiceAccount", "serviceaccounts", {}],
  ["v1", "PersistentVolumeClaim", "persistentvolumeclaims",
    { spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } } }],
  ["apps/v1", "Deployment", "deployments", { spec: { replicas: 0, selector, template } }],
  ["apps/v1", "StatefulSet", "statefulsets", { spec: { replicas: 0, serviceName: "node", selector, template } }],
  ["batch/v1", "CronJob", "cronjobs",
    { spec: { schedule: "0 0 1 1 *", suspend: true, jobTemplate: { spec: { template: { spec: { ...pod, restartPolicy: "Never" } } } } } }],
  ["networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", { spec: { podSelector: {} } }],
  ["rbac.authorization.k8s.io/v1", "Role", "roles", { rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] }],
];

async function refused(code, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.code, code, error.body);
    return true;
  });
}

async function life([apiVersion, kind, plural, rest]) {
  const name = "node-client";
  const head = { apiVersion, kind, metadata: { name, namespace } };
  const body = { ...head, metadata: { ...head.metadata, labels: { by: "node" } }, ...rest };
  const label = (object) => object.metadata.labels;

  const made = await objects.create(body);
  assert.ok(made.metadata.uid && made.metadata.creationTimestamp, kind);
  await refused(409, () => objects.create(body));
  assert.equal((await objects.read(head)).metadata.uid, made.metadata.uid);
  const list = await objects.list(apiVersion, kind, namespace, undefined, undefined, undefined, undefined, "by=node");
  assert.equal(list.items.length, 1);

  const seen = [];
  const path = `/${apiVersion.includes("/") ? "apis" : "api"}/${apiVersion}/namespaces/${namespace}/${plural}`;
  const watching = new Promise((resolve, reject) => {
    const query = { resourceVersion: made.metadata.resourceVersion, fieldSelector: `metadata.name=${name}` };
    new k8s.Watch(config)
      .watch(path, query, (type, object) => {
        seen.push(type);
        if (type === "DELETED") resolve(object);
      }, (error) => error && reject(error))
      .then((aborter) => (stop = () => aborter.abort()), reject);
  });
  let stop = () => {};

  // A server may change an object on its own in between: read, change and write until nobody else was quicker.
  for (let tries = 0; ; tries++) {
    const current = await objects.read(head);
    current.metadata.labels.replaced = "yes";
    try {
      assert.equal(label(await objects.replace(current)).replaced, "yes");
      break;
    } catch (error) {
      if (error.code !== 409 || tries > 5) throw error;
    }
  }
  await refused(409, () => objects.replace({ ...made, metadata: { ...made.metadata, resourceVersion: "1" } }));

  const patch = (content, type, ...options) => objects.patch({ ...head, ...content }, ...options, type);
  const meta = (labels) => ({ metadata: { ...head.metadata, labels } });
  const merged = await patch(meta({ merged: "yes", replaced: null }), k8s.PatchStrategy.MergePatch, undefined, undefined, undefined, undefined);
  assert.deepEqual(label(merged), { by: "node", merged: "yes" });
  const strategic = await patch(meta({ strategic: "yes" }), k8s.PatchStrategy.StrategicMergePatch, undefined, undefined, undefined, undefined);
  assert.equal(label(strategic).strategic, "yes");
  const applied = await patch(meta({ applied: "yes" }), k8s.PatchStrategy.ServerSideApply, undefined, undefined, "node-apply", true);
  assert.equal(label(applied).applied, "yes");
  assert.ok(applied.metadata.managedFields.some((entry) => entry.manager === "node-apply" && entry.operation === "Apply"));
  const given = await patch(meta({}), k8s.PatchStrategy.ServerSideApply, undefined, undefined, "node-apply", true);
  assert.equal(label(given).applied, undefined, "a label that is applied no longer goes");

  await objects.delete(head, undefined, undefined, 0, undefined, "Background");
  // A claim is protected until nobody uses it; whoever runs no controller for that lets it go by hand.
  await objects.patch({ ...head, metadata: { ...head.metadata, finalizers: null } }, undefined, undefined, undefined, undefined,
    k8s.PatchStrategy.MergePatch).catch(() => {});
  await watching;
  stop();
  assert.equal(seen[0], "MODIFIED", seen.join());
  await refused(404, () => objects.read(head));
}

async function typed() {
  const core = config.makeApiClient(k8s.CoreV1Api);
  for (let number = 0; number < 5; number++) {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: `page-${number}`, labels: { paged: "yes" } } } });
  }
  const names = [];
  for (let _continue; ; ) {
    const page = await core.listNamespacedConfigMap({ namespace, labelSelector: "paged", limit: 2, _continue });
    names.push(...page.items.map((item) => item.metadata.name));
    _continue = page.metadata._continue;
    if (!_continue) break;
  }
  assert.deepEqual(names, [0, 1, 2, 3, 4].map((number) => `page-${number}`));
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "paged" });
  assert.equal((await core.listNamespacedConfigMap({ namespace, labelSelector: "paged" })).items.length, 0);
}

// As dashboards watch: each event is a message, and the connection closes in order when the time is over.
async function webSocketWatch() {
  const core = config.makeApiClient(k8s.CoreV1Api);
  const name = "web-socket";
  const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name }, data: { a: "1" } } });
  await core.deleteNamespacedConfigMap({ namespace, name });
  const query = new URLSearchParams({
    watch: "1", timeoutSeconds: "2", fieldSelector: `metadata.name=${name}`,
    resourceVersion: made.metadata.resourceVersion - 1,
  });
  const options = { origin: "http://localhost" };
  await config.applyToHTTPSOptions(options);
  const url = `${config.getCurrentCluster().server}/api/v1/namespaces/${namespace}/configmaps?${query}`;
  const socket = new WebSocket(url.replace(/^http/, "ws"), options);
  const events = [];
  socket.on("message", (data, isBinary) => events.push(isBinary ? "binary" : JSON.parse(data).type));
  const code = await new Promise((resolve, reject) => socket.on("close", resolve).on("error", reject));
  assert.deepEqual([code, ...events], [1000, "ADDED", "DELETED"]);
}

for (const kind of KINDS) {
  await life(kind).catch((error) => {
    error.message = `${kind[1]}: ${error.message}`;
    throw error;
  });
}
await typed();
await webSocketWatch();
console.log("done");
process.exit(0);
