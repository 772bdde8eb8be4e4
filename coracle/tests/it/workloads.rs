//! What controllers, scheduler and nodes make of objects.

use crate::client::{Client, name, names};
use crate::{Space, config_map, deployment, pod};
use coracle::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A namespace in a whole cluster with three hollow nodes.
async fn space(name: &str) -> Space {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let cluster =
        CLUSTER.get_or_init(|| async { Cluster::builder().hollow_nodes(3).start().await.expect("a cluster") }).await;
    let space = Space::new(cluster, name).await;
    // A node that is new takes no pods at first.
    let ready = |node: &Value| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
    space.client.until_all("/api/v1/nodes", "", |all| all.len() == 3 && all.values().all(ready)).await;
    space
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The rollout is complete with so many replicas, as `kubectl rollout status` judges it.
fn rolled_out(deployment: &Value, replicas: i64) -> bool {
    number(deployment, "/status/observedGeneration") == number(deployment, "/metadata/generation")
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|field| number(deployment, &format!("/status/{field}")) == replicas)
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

fn revision(object: &Value) -> &str {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or_default()
}

fn running(pods: &BTreeMap<String, Value>) -> usize {
    pods.values()
        .filter(|p| p["status"]["phase"] == "Running" && p["metadata"].get("deletionTimestamp").is_none())
        .count()
}

#[test]
fn a_deployment_rolls_out_back_and_up_and_down() {
    crate::run(async {
        let space = space("workloads-deployment").await;
        let one = space.group("apps", "deployments/web");
        space.create(&space.group("apps", "deployments"), deployment("web", 3)).await;
        let done = space.client.until(&one, |d| rolled_out(d, 3)).await;
        assert_eq!(revision(&done), "1");
        let available = done["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Available");
        assert_eq!(available.map(|c| &c["status"]), Some(&json!("True")));
        let pods = space.client.get(&space.core("pods?labelSelector=app%3Dweb")).await.ok();
        for pod in pods["items"].as_array().unwrap() {
            assert!(pod["spec"]["nodeName"].as_str().is_some_and(|node| node.starts_with("hollow-")));
            assert!(pod["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.244.")), "{pod}");
            assert!(name(pod).starts_with("web-") && pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet");
        }
        space.client.patch(&one, "strategic-merge", &image("nginx:2.0")).await.ok();
        let done = space.client.until(&one, |d| rolled_out(d, 3) && revision(d) == "2").await;
        assert_eq!(number(&done, "/status/readyReplicas"), 3);
        let sets = space.client.get(&space.group("apps", "replicasets")).await.ok();
        let mut wanted: Vec<_> = sets["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|set| (revision(set), number(set, "/spec/replicas")))
            .collect();
        wanted.sort_unstable();
        assert_eq!(wanted, [("1", 0), ("2", 3)]);
        space.client.patch(&one, "strategic-merge", &image("nginx:1.0")).await.ok();
        space.client.until(&one, |d| rolled_out(d, 3) && revision(d) == "3").await;
        let sets = space.client.get(&space.group("apps", "replicasets")).await.ok();
        assert_eq!(names(&sets).len(), 2, "going back takes the old set again");
        for replicas in [5, 1, 0] {
            let scale = json!({ "spec": { "replicas": replicas } });
            space.client.patch(&format!("{one}/scale"), "merge", &scale).await.ok();
            space.client.until(&one, |d| rolled_out(d, replicas)).await;
        }
        space.client.until_all(&space.core("pods"), "labelSelector=app%3Dweb", |pods| pods.is_empty()).await;
    });
}

#[test]
fn a_recreated_deployment_never_runs_two_versions() {
    crate::run(async {
        let space = space("workloads-recreate").await;
        let one = space.group("apps", "deployments/web");
        let mut object = deployment("web", 2);
        object["spec"]["strategy"] = json!({ "type": "Recreate" });
        space.create(&space.group("apps", "deployments"), object).await;
        space.client.until(&one, |d| rolled_out(d, 2)).await;
        space.client.patch(&one, "strategic-merge", &image("nginx:2.0")).await.ok();
        let mut mixed = false;
        let images = |pods: &BTreeMap<String, Value>| {
            let alive = pods.values().filter(|p| p["status"]["phase"] == "Running");
            alive.map(|p| p["spec"]["containers"][0]["image"].to_string()).collect::<std::collections::BTreeSet<_>>()
        };
        let query = "labelSelector=app%3Dweb";
        space
            .client
            .until_all(&space.core("pods"), query, |pods| {
                mixed |= images(pods).len() > 1;
                running(pods) == 2 && images(pods).contains("\"nginx:2.0\"")
            })
            .await;
        assert!(!mixed);
    });
}

#[test]
fn a_paused_deployment_waits() {
    crate::run(async {
        let space = space("workloads-paused").await;
        let one = space.group("apps", "deployments/web");
        let mut object = deployment("web", 1);
        object["spec"]["paused"] = json!(true);
        space.create(&space.group("apps", "deployments"), object).await;
        let progressing = |d: &Value, reason: &str| {
            d["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["reason"] == reason))
        };
        space.client.until(&one, |d| progressing(d, "DeploymentPaused")).await;
        assert_eq!(names(&space.client.get(&space.group("apps", "replicasets")).await.ok()).len(), 0);
        space.client.patch(&one, "merge", &json!({ "spec": { "paused": false } })).await.ok();
        space.client.until(&one, |d| rolled_out(d, 1)).await;
    });
}

#[test]
fn a_replication_controller_keeps_its_number() {
    crate::run(async {
        let space = space("workloads-rc").await;
        let template = json!({ "metadata": { "labels": { "app": "rc" } }, "spec": pod("x")["spec"] });
        let rc = json!({ "metadata": { "name": "rc" }, "spec": { "replicas": 2, "template": template } });
        space.create(&space.core("replicationcontrollers"), rc).await;
        let one = space.core("replicationcontrollers/rc");
        let ready = |rc: &Value, count: i64| {
            number(rc, "/status/readyReplicas") == count && number(rc, "/status/replicas") == count
        };
        space.client.until(&one, |rc| ready(rc, 2)).await;
        let pods = space.client.get(&space.core("pods")).await.ok();
        let victim = names(&pods)[0].to_owned();
        space.client.delete(&space.core(&format!("pods/{victim}"))).await.is(200);
        let pods = space
            .client
            .until_all(&space.core("pods"), "", |pods| !pods.contains_key(&victim) && running(pods) == 2)
            .await;
        assert_eq!(pods.len(), 2);
        space.client.patch(&format!("{one}/scale"), "merge", &json!({ "spec": { "replicas": 4 } })).await.ok();
        space.client.until(&one, |rc| ready(rc, 4)).await;
        let stray = json!({ "metadata": { "labels": { "app": "other" } } });
        let pods = space.client.get(&space.core("pods")).await.ok();
        let freed = space.core(&format!("pods/{}", names(&pods)[0]));
        space.client.patch(&freed, "merge", &stray).await.ok();
        space.client.until_all(&space.core("pods"), "labelSelector=app%3Drc", |pods| running(pods) == 4).await;
        space.client.until(&freed, |pod| pod["metadata"].get("ownerReferences").is_none()).await;
    });
}

#[test]
fn endpoints_and_slices_follow_the_pods() {
    crate::run(async {
        let space = space("workloads-endpoints").await;
        space.create(&space.group("apps", "deployments"), deployment("web", 2)).await;
        let service = json!({ "metadata": { "name": "web" }, "spec": {
            "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
        } });
        space.create(&space.core("services"), service).await;
        let addresses = |endpoints: &Value| endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
        let endpoints = space.client.until(&space.core("endpoints/web"), |e| addresses(e) == 2).await;
        assert_eq!(endpoints["subsets"][0]["ports"], json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]));
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["targetRef"]["kind"], "Pod");
        let of_web = "labelSelector=kubernetes.io%2Fservice-name%3Dweb";
        let all = space.group("discovery.k8s.io", "endpointslices");
        let ready = |slices: &BTreeMap<String, Value>| {
            let endpoints = slices.values().flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
            endpoints.filter(|e| e["conditions"]["ready"] == true).count()
        };
        let slices = space.client.until_all(&all, of_web, |slices| ready(slices) == 2).await;
        let slice = slices.values().next().unwrap();
        assert_eq!((&slice["addressType"], &slice["ports"][0]["port"]), (&json!("IPv4"), &json!(8080)));
        assert!(name(slice).starts_with("web-") && slice["metadata"]["ownerReferences"][0]["kind"] == "Service");
        space
            .client
            .patch(&space.group("apps", "deployments/web/scale"), "merge", &json!({ "spec": { "replicas": 0 } }))
            .await
            .ok();
        space.client.until(&space.core("endpoints/web"), |e| addresses(e) == 0).await;
        space.client.until_all(&all, of_web, |slices| ready(slices) == 0).await;
        space.client.delete(&space.core("services/web")).await.ok();
        space.client.until_gone(&space.core("endpoints/web")).await;
        space.client.until_all(&all, of_web, BTreeMap::is_empty).await;
    });
}

#[test]
fn an_evicted_pod_goes_unless_a_budget_keeps_it() {
    crate::run(async {
        let space = space("workloads-eviction").await;
        let run = async |name: &str| {
            space.create(&space.core("pods"), pod(name)).await;
            space.client.until(&space.core(&format!("pods/{name}")), |p| p["status"]["phase"] == "Running").await
        };
        let evict = async |name: &str| {
            let eviction = json!({ "kind": "Eviction", "apiVersion": "policy/v1", "metadata": { "name": name } });
            space.client.post(&space.core(&format!("pods/{name}/eviction")), &eviction).await
        };
        run("free").await;
        assert_eq!(evict("free").await.is(201)["status"], "Success");
        space.client.until_gone(&space.core("pods/free")).await;
        evict("free").await.is(404);
        let budget = json!({ "metadata": { "name": "keep" }, "spec": {
            "minAvailable": 1,
            "selector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": ["kept", "more"] }] },
        } });
        space.create(&space.group("policy", "poddisruptionbudgets"), budget).await;
        // Who keeps the budget's status has to have seen the pods.
        let counted = async |healthy: i64| {
            let budget = space.group("policy", "poddisruptionbudgets/keep");
            space.client.until(&budget, |budget| budget["status"]["currentHealthy"] == healthy).await
        };
        run("kept").await;
        counted(1).await;
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let refused = evict("kept").await.fails(429, "TooManyRequests", message);
        let cause = &refused["details"]["causes"][0];
        assert_eq!(
            (&cause["reason"], &cause["message"]),
            (&json!("DisruptionBudget"), &json!("The disruption budget keep needs 1 healthy pods and has 1 currently"),)
        );
        run("more").await;
        counted(2).await;
        evict("kept").await.is(201);
        space.client.until_gone(&space.core("pods/kept")).await;
    });
}

#[test]
fn a_namespace_is_emptied_before_it_goes() {
    crate::run(async {
        let space = space("workloads-namespace").await;
        space.create(&space.group("apps", "deployments"), deployment("web", 2)).await;
        space.client.until(&space.group("apps", "deployments/web"), |d| rolled_out(d, 2)).await;
        let mut held = config_map("held", json!({}));
        held["metadata"]["finalizers"] = json!(["example.com/hold"]);
        space.create(&space.core("configmaps"), held).await;
        let own = format!("/api/v1/namespaces/{}", space.name);
        let marked = space.client.delete(&own).await.is(200);
        assert_eq!(marked["status"]["phase"], "Terminating");
        let refused = space.client.post(&space.core("configmaps"), &config_map("late", json!({}))).await;
        let message = format!(
            "configmaps \"late\" is forbidden: unable to create new content in namespace {0} because it is being terminated",
            space.name
        );
        let refused = refused.fails(403, "Forbidden", &message);
        assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
        let waiting = |namespace: &Value| {
            let conditions = namespace["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter().any(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True")
            })
        };
        space.client.until(&own, waiting).await;
        let free = json!({ "metadata": { "finalizers": null } });
        space.client.patch(&space.core("configmaps/held"), "merge", &free).await.ok();
        space.client.until_gone(&own).await;
        for path in [space.core("pods"), space.core("configmaps"), space.group("apps", "replicasets")] {
            assert_eq!(names(&space.client.get(&path).await.ok()).len(), 0, "{path}");
        }
        let immortal = space.client.delete("/api/v1/namespaces/default").await;
        immortal.fails(403, "Forbidden", "namespaces \"default\" is forbidden: this namespace may not be deleted");
    });
}

#[test]
fn what_an_owner_leaves_is_collected_kept_or_waited_for() {
    crate::run(async {
        let space = space("workloads-garbage").await;
        let (one, sets) = (space.group("apps", "deployments/web"), space.group("apps", "replicasets"));
        let begin = async || {
            space.create(&space.group("apps", "deployments"), deployment("web", 1)).await;
            space.client.until(&one, |d| rolled_out(d, 1)).await;
        };
        begin().await;
        space.client.delete(&format!("{one}?propagationPolicy=Background")).await.is(200);
        space.client.get(&one).await.is(404);
        space.client.until_all(&sets, "", BTreeMap::is_empty).await;
        space.client.until_all(&space.core("pods"), "", BTreeMap::is_empty).await;
        begin().await;
        space.client.delete(&format!("{one}?propagationPolicy=Foreground")).await.is(200);
        space.client.until_gone(&one).await;
        assert_eq!(names(&space.client.get(&sets).await.ok()).len(), 0, "dependents go first");
        assert_eq!(names(&space.client.get(&space.core("pods")).await.ok()).len(), 0, "and theirs before");
        begin().await;
        space.client.delete(&format!("{one}?propagationPolicy=Orphan")).await.is(200);
        space.client.until_gone(&one).await;
        let orphan =
            |all: &BTreeMap<String, Value>| all.values().all(|set| set["metadata"].get("ownerReferences").is_none());
        assert_eq!(space.client.until_all(&sets, "", |all| all.len() == 1 && orphan(all)).await.len(), 1);
        let mut child = config_map("child", json!({}));
        child["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "11111111-2222-3333-4444-555555555555" }]);
        space.create(&space.core("configmaps"), child).await;
        space.client.until_gone(&space.core("configmaps/child")).await;
    });
}

#[test]
fn every_namespace_has_an_account_and_the_clusters_ca() {
    crate::run(async {
        let space = space("workloads-account").await;
        let (account, ca) = (space.core("serviceaccounts/default"), space.core("configmaps/kube-root-ca.crt"));
        let first = space.client.until(&account, |_| true).await;
        let published = space.client.until(&ca, |_| true).await;
        assert!(published["data"]["ca.crt"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
        space.client.delete(&account).await.ok();
        space.client.until(&account, |again| again["metadata"]["uid"] != first["metadata"]["uid"]).await;
        space.client.patch(&ca, "merge", &json!({ "data": { "ca.crt": "false" } })).await.ok();
        space.client.until(&ca, |map| map["data"] == published["data"]).await;
        let mut mounting = pod("mounting");
        mounting["spec"].as_object_mut().unwrap().remove("automountServiceAccountToken");
        let mounting = space.create(&space.core("pods"), mounting).await;
        assert_eq!(mounting["spec"]["serviceAccountName"], "default");
        let mount = &mounting["spec"]["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
        let mut other = pod("other");
        other["spec"]["serviceAccountName"] = json!("missing");
        let refused = space.client.post(&space.core("pods"), &other).await;
        refused.fails_with(
            403,
            "error looking up service account workloads-account/missing: serviceaccount \"missing\" not found",
        );
    });
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_goes_where_it_fits() {
    crate::run(async {
        let space = space("workloads-scheduling").await;
        // The scheduler has seen a node as ready once a pod runs there; only then does it count all three.
        for node in ["hollow-0", "hollow-1", "hollow-2"] {
            let mut first = pod(node);
            first["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
            space.create(&space.core("pods"), first).await;
            space.client.until(&space.core(&format!("pods/{node}")), |p| p["status"]["phase"] == "Running").await;
        }
        let mut large = pod("large");
        large["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1000" } });
        space.create(&space.core("pods"), large).await;
        let mut picky = pod("picky");
        picky["spec"]["nodeSelector"] = json!({ "workloads": "picky" });
        space.create(&space.core("pods"), picky).await;
        for (pod, why) in [
            ("large", "0/3 nodes are available: 3 Insufficient cpu."),
            ("picky", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        ] {
            let query = format!("fieldSelector=involvedObject.name%3D{pod}");
            let failed = |event: &Value| {
                event["reason"] == "FailedScheduling"
                    && event["type"] == "Warning"
                    && event["message"].as_str().is_some_and(|message| message.starts_with(why))
            };
            space.client.until_all(&space.core("events"), &query, |all| all.values().any(failed)).await;
            let path = space.core(&format!("pods/{pod}"));
            let waiting = space.client.until(&path, |p| p["status"]["conditions"].is_array()).await;
            let condition = waiting["status"]["conditions"][0].clone();
            let found = (&condition["type"], &condition["status"], &condition["reason"]);
            assert_eq!(found, (&json!("PodScheduled"), &json!("False"), &json!("Unschedulable")));
        }
        let label = json!({ "metadata": { "labels": { "workloads": "picky" } } });
        space.client.patch("/api/v1/nodes/hollow-1", "merge", &label).await.ok();
        let placed = space.client.until(&space.core("pods/picky"), |p| p["status"]["phase"] == "Running").await;
        assert_eq!(placed["spec"]["nodeName"], "hollow-1");
        let scheduled = "Successfully assigned workloads-scheduling/picky to hollow-1";
        let query = "fieldSelector=involvedObject.name%3Dpicky,reason%3DScheduled";
        let events = space.client.until_all(&space.core("events"), query, |all| !all.is_empty()).await;
        assert!(events.values().all(|event| event["message"] == scheduled), "{events:?}");
        let again = json!({ "target": { "kind": "Node", "name": "hollow-2" }, "metadata": { "name": "picky" } });
        let refused = space.client.post(&space.core("pods/picky/binding"), &again).await;
        refused.fails_with(409, "pod picky is already assigned to node \"hollow-1\"");
    });
}

#[test]
fn a_cordoned_node_takes_no_pods() {
    crate::run(async {
        let cluster = Cluster::builder().hollow_nodes(1).start().await.unwrap();
        let space = Space::new(&cluster, "workloads-cordon").await;
        let node = "/api/v1/nodes/hollow-0";
        space.client.until(node, |_| true).await;
        space.client.patch(node, "merge", &json!({ "spec": { "unschedulable": true } })).await.ok();
        let tainted = |node: &Value| {
            let taints = node["spec"]["taints"].as_array();
            taints.is_some_and(|all| all.iter().any(|t| t["key"] == "node.kubernetes.io/unschedulable"))
        };
        space.client.until(node, tainted).await;
        space.create(&space.core("pods"), pod("waiting")).await;
        let unschedulable = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "FailedScheduling"
                && message.starts_with("0/1 nodes are available: 1 node(s) were unschedulable.")
        };
        space.client.until_all(&space.core("events"), "", |all| all.values().any(unschedulable)).await;
        space.client.patch(node, "merge", &json!({ "spec": { "unschedulable": null } })).await.ok();
        space.client.until(&space.core("pods/waiting"), |p| p["status"]["phase"] == "Running").await;
        cluster.stop().await;
    });
}

#[test]
fn pods_complete_restart_log_and_go() {
    crate::run(async {
        let space = space("workloads-pods").await;
        let mut done = pod("done");
        done["metadata"]["annotations"] = json!({ "hollow.coracle.dev/exit-after": "0s" });
        done["spec"]["restartPolicy"] = json!("Never");
        let mut failed = done.clone();
        failed["metadata"]["name"] = json!("failed");
        failed["metadata"]["annotations"]["hollow.coracle.dev/exit-code"] = json!("3");
        for object in [done, failed, pod("lasting")] {
            space.create(&space.core("pods"), object).await;
        }
        space.client.until(&space.core("pods/done"), |p| p["status"]["phase"] == "Succeeded").await;
        let failed = space.client.until(&space.core("pods/failed"), |p| p["status"]["phase"] == "Failed").await;
        assert_eq!(failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
        let lasting = space.core("pods/lasting");
        let running = space.client.until(&lasting, |p| p["status"]["phase"] == "Running").await;
        let ready = running["status"]["conditions"].as_array().unwrap().iter().filter(|c| c["status"] == "True");
        let mut ready: Vec<_> = ready.map(|c| c["type"].as_str().unwrap()).collect();
        ready.sort_unstable();
        assert_eq!(ready, ["ContainersReady", "Initialized", "PodReadyToStartContainers", "PodScheduled", "Ready"]);
        let log = space.client.get(&format!("{lasting}/log")).await;
        assert!(log.code == 200 && log.text.contains("hollow"), "{}: {}", log.code, log.text);
        let wrong = space.client.get(&format!("{lasting}/log?container=nobody")).await;
        wrong.fails_with(400, "container nobody is not valid for pod lasting");
        let marked = space.client.delete(&lasting).await.is(200);
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        space.client.until_gone(&lasting).await;
    });
}

#[test]
fn a_node_that_falls_silent_loses_its_pods() {
    crate::run(async {
        let mut builder = Cluster::builder().hollow_nodes(3);
        // Hollow nodes report every 10 s.
        builder.controllers.node_monitor_grace_period = Duration::from_secs(13);
        builder.controllers.node_eviction_rate = 100.0;
        let cluster = builder.start().await.unwrap();
        let space = Space::new(&cluster, "workloads-silent").await;
        let mut object = deployment("web", 3);
        object["spec"]["template"]["spec"]["tolerations"] = json!(["not-ready", "unreachable"].map(|key| json!({
            "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1,
        })));
        space.create(&space.group("apps", "deployments"), object).await;
        space.client.until(&space.group("apps", "deployments/web"), |d| rolled_out(d, 3)).await;
        let pods = space.client.get(&space.core("pods")).await.ok();
        let stopped = pods["items"][0]["spec"]["nodeName"].as_str().unwrap();
        let mut lost = pods["items"].as_array().unwrap().clone();
        lost.retain(|pod| pod["spec"]["nodeName"] == stopped);
        let path = format!("/api/v1/nodes/{stopped}");
        cluster.hollow_nodes().unwrap().stop(stopped);
        let tainted = |node: &Value| {
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let has =
                |effect| taints.iter().any(|t| t["key"] == "node.kubernetes.io/unreachable" && t["effect"] == effect);
            has("NoSchedule") && has("NoExecute")
        };
        let node = space.client.until(&path, tainted).await;
        let ready =
            |node: &Value| node["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "Ready").cloned();
        let unknown = ready(&node).unwrap();
        assert_eq!((&unknown["status"], &unknown["reason"]), (&json!("Unknown"), &json!("NodeStatusUnknown")));
        assert_eq!(unknown["message"], "Kubelet stopped posting node status.");
        let replaced = |pods: &BTreeMap<String, Value>| {
            let elsewhere =
                pods.values().filter(|p| p["spec"]["nodeName"] != stopped && p["status"]["phase"] == "Running");
            let leaving =
                |pod: &Value| pods.get(name(pod)).is_none_or(|p| p["metadata"]["deletionTimestamp"].is_string());
            elsewhere.count() == 3 && lost.iter().all(leaving)
        };
        space.client.until_all(&space.core("pods"), "", replaced).await;
        cluster.hollow_nodes().unwrap().start(stopped);
        let back = |node: &Value| {
            let ready = ready(node).is_some_and(|condition| condition["status"] == "True");
            ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
        };
        space.client.until(&path, back).await;
        space.client.until_gone(&space.core(&format!("pods/{}", name(&lost[0])))).await;
        cluster.stop().await;
    });
}

#[test]
fn a_client_of_a_stopped_cluster_is_told() {
    crate::run(async {
        let cluster = Cluster::builder().hollow_nodes(1).start().await.unwrap();
        let client = Client::new(cluster.client().unwrap());
        client.until("/api/v1/nodes/hollow-0", |_| true).await;
        cluster.stop().await;
        let refused = client.post("/api/v1/namespaces/default/configmaps", &config_map("late", json!({}))).await;
        assert!(refused.code >= 500, "{}", refused.text);
    });
}
