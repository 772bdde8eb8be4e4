//! What quotas and LimitRanges allow, and what quotas say is used.

use crate::{Space, config_map, deployment, pod};
use coracle::{Cluster, Components};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// A namespace in a cluster with controllers; its pods never run.
async fn space(name: &str) -> Space {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    let components = Components { scheduler: false, controller_manager: true };
    let start = || async { Cluster::builder().components(components).start().await.expect("a cluster") };
    Space::new(CLUSTER.get_or_init(start).await, name).await
}

impl Space {
    /// A quota on these, once it is counted.
    async fn quota(&self, name: &str, spec: Value) -> Value {
        self.create(&self.core("resourcequotas"), json!({ "metadata": { "name": name }, "spec": spec })).await;
        let counted = |quota: &Value| {
            quota["status"]["hard"] == quota["spec"]["hard"]
                && quota["spec"]["hard"]
                    .as_object()
                    .is_some_and(|hard| hard.keys().all(|name| quota["status"]["used"].get(name).is_some()))
        };
        self.client.until(&self.core(&format!("resourcequotas/{name}")), counted).await
    }

    /// Waits until a quota has these of what is used.
    async fn until_used(&self, name: &str, wanted: Value) {
        let wanted = wanted.as_object().cloned().unwrap_or_default();
        let reached = |quota: &Value| wanted.iter().all(|(name, amount)| quota["status"]["used"][name] == *amount);
        self.client.until(&self.core(&format!("resourcequotas/{name}")), reached).await;
    }

    async fn used(&self, name: &str) -> Value {
        self.client.get(&self.core(&format!("resourcequotas/{name}"))).await.ok()["status"]["used"].clone()
    }

    /// Removes an object that nothing keeps.
    async fn remove(&self, path: &str) {
        self.client.delete_with(&self.core(path), &json!({ "gracePeriodSeconds": 0 })).await.ok();
    }
}

fn asking(name: &str, resources: Value) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = resources;
    pod
}

fn service(name: &str, kind: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "type": kind, "ports": [{ "port": 80 }] } })
}

fn claim(name: &str, class: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "resources": { "requests": { "storage": "1Gi" } },
    } })
}

#[test]
fn a_quota_follows_services() {
    crate::run(async {
        let space = space("quotas-services").await;
        let all = space.core("services");
        let hard = json!({ "services": "10", "services.nodeports": "1", "services.loadbalancers": "1", "resourcequotas": "1" });
        let quota = space.quota("q", json!({ "hard": hard })).await;
        assert_eq!(quota["status"]["used"]["resourcequotas"], "1", "it counts itself");
        space.create(&all, service("a", "ClusterIP")).await;
        space.create(&all, service("np", "NodePort")).await;
        let refused = space.client.post(&all, &service("lb", "LoadBalancer")).await;
        let why = "services \"lb\" is forbidden: exceeded quota: q, requested: services.nodeports=1, \
                   used: services.nodeports=1, limited: services.nodeports=1";
        refused.fails(403, "Forbidden", why);
        assert_eq!(space.used("q").await["services"], "2");
        let internal = json!({ "spec": { "type": "ClusterIP" } });
        space.client.patch(&space.core("services/np"), "merge", &internal).await.ok();
        space.until_used("q", json!({ "services": "2", "services.nodeports": "0" })).await;
        space.create(&all, service("lb", "LoadBalancer")).await;
        for name in ["a", "np", "lb"] {
            space.remove(&format!("services/{name}")).await;
        }
        space
            .until_used("q", json!({ "services": "0", "services.nodeports": "0", "services.loadbalancers": "0" }))
            .await;
        let second = json!({ "metadata": { "name": "second" }, "spec": { "hard": {} } });
        space.client.post(&space.core("resourcequotas"), &second).await.fails_with(403, "limited: resourcequotas=1");
    });
}

#[test]
fn a_quota_follows_objects_of_any_kind() {
    crate::run(async {
        let space = space("quotas-kinds").await;
        let there = space.client.until(&space.core("configmaps/kube-root-ca.crt"), |_| true).await;
        assert_eq!(there["metadata"]["name"], "kube-root-ca.crt");
        let hard = json!({
            "configmaps": "2", "secrets": "1", "replicationcontrollers": "1", "count/replicasets.apps": "1",
            "persistentvolumeclaims": "2", "requests.storage": "10Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
        });
        let quota = space.quota("q", json!({ "hard": hard })).await;
        assert_eq!(quota["status"]["used"]["configmaps"], "1");
        space.create(&space.core("configmaps"), config_map("a", json!({}))).await;
        let refused = space.client.post(&space.core("configmaps"), &config_map("b", json!({}))).await;
        refused
            .fails_with(403, "exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2");
        space.create(&space.core("secrets"), json!({ "metadata": { "name": "a" } })).await;
        let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": pod("x")["spec"] });
        let rc = json!({ "metadata": { "name": "a" }, "spec": { "replicas": 0, "template": template } });
        space.create(&space.core("replicationcontrollers"), rc).await;
        let mut set = deployment("a", 0);
        set["kind"] = json!("ReplicaSet");
        space.create(&space.group("apps", "replicasets"), set).await;
        space.create(&space.core("persistentvolumeclaims"), claim("a", "gold")).await;
        space.create(&space.core("persistentvolumeclaims"), claim("b", "slow")).await;
        let all = json!({
            "configmaps": "2", "secrets": "1", "replicationcontrollers": "1", "count/replicasets.apps": "1",
            "persistentvolumeclaims": "2", "requests.storage": "2Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
        });
        assert_eq!(space.used("q").await, all);
        for path in ["configmaps/a", "secrets/a", "replicationcontrollers/a", "persistentvolumeclaims/a"] {
            space.remove(path).await;
        }
        space.client.delete(&space.group("apps", "replicasets/a")).await.ok();
        let left = json!({
            "configmaps": "1", "secrets": "0", "replicationcontrollers": "0", "count/replicasets.apps": "0",
            "persistentvolumeclaims": "1", "requests.storage": "1Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
            "gold.storageclass.storage.k8s.io/requests.storage": "0",
        });
        space.until_used("q", left).await;
    });
}

#[test]
fn a_quota_follows_pods() {
    crate::run(async {
        let space = space("quotas-pods").await;
        let pods = space.core("pods");
        let hard = json!({
            "pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.example.com/dongle": "3",
        });
        space.quota("q", json!({ "hard": hard })).await;
        let dongles = json!({
            "requests": { "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2" },
            "limits": { "example.com/dongle": "2" },
        });
        space.create(&pods, asking("a", dongles.clone())).await;
        let one = json!({
            "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "requests.example.com/dongle": "2",
        });
        assert_eq!(space.used("q").await, one);
        let refuse = async |resources: Value, why: &str| {
            space.client.post(&pods, &asking("b", resources)).await.fails_with(403, why);
        };
        refuse(json!({ "requests": { "cpu": "600m", "memory": "100Mi" } }), "requested: cpu=600m, used: cpu=500m")
            .await;
        refuse(dongles, "requested: ephemeral-storage=30Gi,memory=252Mi,requests.example.com/dongle=2").await;
        refuse(json!({}), "failed quota: q: must specify cpu for: main; memory for: main").await;
        let less =
            json!({ "spec": { "containers": [{ "name": "main", "resources": { "requests": { "cpu": "1m" } } }] } });
        space.client.patch(&space.core("pods/a"), "strategic-merge", &less).await.is(422);
        assert_eq!(space.used("q").await, one, "what is refused is not charged");
        space.remove("pods/a").await;
        let nothing = json!({
            "pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0", "requests.example.com/dongle": "0",
        });
        space.until_used("q", nothing).await;
    });
}

#[test]
fn a_pod_that_has_ended_gives_back_what_it_used() {
    crate::run(async {
        let space = space("quotas-ended").await;
        space.quota("q", json!({ "hard": { "pods": "1", "count/pods": "2" } })).await;
        space.create(&space.core("pods"), pod("a")).await;
        space.client.post(&space.core("pods"), &pod("b")).await.fails_with(403, "exceeded quota: q, requested: pods=1");
        let done = json!({ "status": { "phase": "Succeeded" } });
        space.client.patch(&space.core("pods/a/status"), "merge", &done).await.ok();
        space.until_used("q", json!({ "pods": "0", "count/pods": "1" })).await;
        space.create(&space.core("pods"), pod("b")).await;
        space.client.post(&space.core("pods"), &pod("c")).await.fails_with(403, "requested: count/pods=1,pods=1");
    });
}

#[test]
fn scopes_choose_the_pods_of_a_quota() {
    crate::run(async {
        let space = space("quotas-scopes").await;
        let scoped = |scope: &str| json!({ "hard": { "pods": "5" }, "scopes": [scope] });
        space.quota("best-effort", scoped("BestEffort")).await;
        space.quota("not-best-effort", scoped("NotBestEffort")).await;
        space.quota("terminating", scoped("Terminating")).await;
        space.quota("not-terminating", scoped("NotTerminating")).await;
        let high = json!({ "scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"] });
        let selector = json!({ "hard": { "pods": "1" }, "scopeSelector": { "matchExpressions": [high] } });
        space.quota("critical", selector).await;
        let all = ["best-effort", "not-best-effort", "terminating", "not-terminating", "critical"];
        let used = async |wanted: [&str; 5]| {
            for (name, pods) in all.iter().zip(wanted) {
                space.until_used(name, json!({ "pods": pods })).await;
            }
        };
        space.create(&space.core("pods"), pod("a")).await;
        used(["1", "0", "0", "1", "0"]).await;
        space.remove("pods/a").await;
        used(["0", "0", "0", "0", "0"]).await;
        let mut urgent = asking("b", json!({ "requests": { "cpu": "1m" } }));
        urgent["spec"]["activeDeadlineSeconds"] = json!(3600);
        urgent["spec"]["priorityClassName"] = json!("system-cluster-critical");
        space.create(&space.core("pods"), urgent.clone()).await;
        used(["0", "1", "1", "0", "1"]).await;
        urgent["metadata"]["name"] = json!("c");
        space.client.post(&space.core("pods"), &urgent).await.fails_with(403, "exceeded quota: critical");
        space.create(&space.core("pods"), pod("d")).await;
        let deadline = json!({ "spec": { "activeDeadlineSeconds": 60 } });
        space.client.patch(&space.core("pods/d"), "merge", &deadline).await.ok();
        used(["1", "1", "2", "0", "1"]).await;
    });
}

#[test]
fn a_quotas_status_follows_its_spec() {
    crate::run(async {
        let space = space("quotas-spec").await;
        let one = space.core("resourcequotas/q");
        space.quota("q", json!({ "hard": { "cpu": "1", "memory": "500Mi" } })).await;
        let more = json!({ "spec": { "hard": { "cpu": "2", "memory": null, "pods": "1" } } });
        space.client.patch(&one, "merge", &more).await.ok();
        let hard = json!({ "cpu": "2", "pods": "1" });
        let quota = space.client.until(&one, |quota| quota["status"]["hard"] == hard).await;
        assert_eq!(quota["status"]["used"], json!({ "cpu": "0", "pods": "0" }));
        let wrong = json!({ "status": { "hard": { "cpu": "9" } } });
        let patched = space.client.patch(&format!("{one}/status"), "merge", &wrong).await.ok();
        assert_eq!(patched["status"]["hard"]["cpu"], "9");
        space.client.until(&one, |quota| quota["status"]["hard"] == hard).await;
        space.create(&space.core("pods"), asking("a", json!({ "requests": { "cpu": "1" } }))).await;
        let b = asking("b", json!({ "requests": { "cpu": "1" } }));
        space.client.post(&space.core("pods"), &b).await.fails_with(403, "exceeded quota: q, requested: pods=1");
        space.client.delete(&one).await.ok();
        space.create(&space.core("pods"), b).await;
    });
}

#[test]
fn many_that_go_together_are_given_back() {
    crate::run(async {
        let space = space("quotas-many").await;
        space.quota("q", json!({ "hard": { "pods": "50", "cpu": "1" } })).await;
        let small = |i: usize| asking(&format!("p{i}"), json!({ "requests": { "cpu": "20m" } }));
        let pods: Vec<Value> = (0..50).map(small).collect();
        let path = space.core("pods");
        let made = futures::future::join_all(pods.iter().map(|pod| space.client.post(&path, pod))).await;
        made.into_iter().for_each(|answer| drop(answer.ok()));
        assert_eq!(space.used("q").await, json!({ "pods": "50", "cpu": "1" }));
        space.client.post(&path, &small(50)).await.fails_with(403, "exceeded quota: q, requested: cpu=20m,pods=1");
        space.client.delete_with(&path, &json!({ "gracePeriodSeconds": 0 })).await.ok();
        space.until_used("q", json!({ "pods": "0", "cpu": "0" })).await;
    });
}

#[test]
fn a_controller_tells_that_a_quota_stops_it() {
    crate::run(async {
        let space = space("quotas-failure").await;
        space.quota("q", json!({ "hard": { "pods": "2" } })).await;
        let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": pod("x")["spec"] });
        let rc = json!({ "metadata": { "name": "a" }, "spec": { "replicas": 3, "template": template } });
        space.create(&space.core("replicationcontrollers"), rc).await;
        let failure = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.into_iter().find(|condition| condition["type"] == "ReplicaFailure")
        };
        let one = space.core("replicationcontrollers/a");
        let told = space.client.until(&one, |rc| failure(rc).is_some()).await;
        let condition = failure(&told).unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("FailedCreate")));
        assert!(condition["message"].as_str().is_some_and(|why| why.contains("exceeded quota: q")), "{condition}");
        space.client.patch(&format!("{one}/scale"), "merge", &json!({ "spec": { "replicas": 2 } })).await.ok();
        space.client.until(&one, |rc| failure(rc).is_none() && rc["status"]["replicas"] == 2).await;
        space.create(&space.group("apps", "deployments"), deployment("b", 1)).await;
        let one = space.group("apps", "deployments/b");
        space.client.until(&one, |deployment| failure(deployment).is_some()).await;
        space.client.patch(&format!("{one}/scale"), "merge", &json!({ "spec": { "replicas": 0 } })).await.ok();
        space.client.until(&one, |deployment| failure(deployment).is_none()).await;
    });
}

/// A quota of five config maps in a cluster where nobody counts; its status is what is given.
async fn uncounted(space: &Space) {
    let hard = json!({ "configmaps": "5" });
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } });
    space.create(&space.core("resourcequotas"), quota).await;
    let status = json!({ "status": { "hard": hard, "used": { "configmaps": "0" } } });
    space.client.patch(&space.core("resourcequotas/q/status"), "merge", &status).await.ok();
}

#[test]
fn what_is_not_written_is_not_charged() {
    crate::run(async {
        let space = Space::bare("quotas-dry").await;
        uncounted(&space).await;
        let path = space.core("configmaps");
        space.client.post(&format!("{path}?dryRun=All"), &config_map("a", json!({}))).await.is(201);
        space.create(&path, config_map("a", json!({}))).await;
        space.client.post(&path, &config_map("a", json!({}))).await.is(409);
        space.client.post(&path, &config_map("A", json!({}))).await.is(422);
        assert_eq!(space.used("q").await, json!({ "configmaps": "1" }));
        let quota = space.client.get(&space.core("resourcequotas/q")).await.ok();
        let managers = quota["metadata"]["managedFields"].as_array().unwrap();
        assert!(managers.iter().any(|entry| entry["manager"] == "kube-apiserver" && entry["subresource"] == "status"));
    });
}

#[test]
fn a_limit_range_gives_defaults_and_bounds() {
    crate::run(async {
        let space = space("quotas-limits").await;
        let ranges = space.core("limitranges");
        let limit = json!({
            "type": "Container",
            "min": { "cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi" },
            "max": { "cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi" },
            "default": { "cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi" },
            "defaultRequest": { "cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi" },
        });
        let range = json!({ "metadata": { "name": "limits" }, "spec": { "limits": [limit] } });
        space.create(&ranges, range.clone()).await;
        let made = space.create(&space.core("pods"), pod("a")).await;
        let resources = |pod: &Value| pod["spec"]["containers"][0]["resources"].clone();
        let wanted = json!({ "limits": limit["default"], "requests": limit["defaultRequest"] });
        assert_eq!(resources(&made), wanted);
        let note = made["metadata"]["annotations"]["kubernetes.io/limit-ranger"].as_str().unwrap();
        assert_eq!(
            note,
            "LimitRanger plugin set: cpu, ephemeral-storage, memory request for container main; \
             cpu, ephemeral-storage, memory limit for container main"
        );
        let partial = json!({ "requests": { "cpu": "300m", "memory": "200Mi" }, "limits": { "memory": "400Mi" } });
        let made = space.create(&space.core("pods"), asking("b", partial)).await;
        let wanted = json!({
            "requests": { "cpu": "300m", "memory": "200Mi", "ephemeral-storage": "200Gi" },
            "limits": { "cpu": "500m", "memory": "400Mi", "ephemeral-storage": "500Gi" },
        });
        assert_eq!(resources(&made), wanted);
        let small = asking("c", json!({ "requests": { "cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi" } }));
        space
            .client
            .post(&space.core("pods"), &small)
            .await
            .fails_with(403, "minimum cpu usage per Container is 50m, but request is 10m");
        let large = asking("d", json!({ "requests": { "cpu": "600m" }, "limits": { "cpu": "600m" } }));
        space
            .client
            .post(&space.core("pods"), &large)
            .await
            .fails_with(403, "maximum cpu usage per Container is 500m, but limit is 600m");
        let mut wider = range;
        wider["spec"]["limits"][0]["min"] = json!({ "cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi" });
        space.client.put(&format!("{ranges}/limits"), &wider).await.ok();
        space.create(&space.core("pods"), small).await;
        space.client.delete(&format!("{ranges}/limits")).await.ok();
        space.create(&space.core("pods"), large).await;
    });
}
