//! Claims, volumes and their classes: which are the default (that of ingresses, too), and what keeps them while somebody uses them.

use crate::{Space, pod, run};
use coracle::Cluster;
use serde_json::{Value, json};

fn claim(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    })
}

#[test]
fn a_claim_is_kept_while_a_pod_uses_it() {
    run(async {
        let cluster = Cluster::builder().hollow_nodes(0).start().await.expect("a cluster");
        let space = Space::new(&cluster, "claims").await;
        let made = space.create(&space.core("persistentvolumeclaims"), claim("used")).await;
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        space.create(&space.core("persistentvolumeclaims"), claim("unused")).await;
        let mut user = pod("user");
        user["spec"]["nodeName"] = "somewhere".into();
        user["spec"]["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "used" } }]);
        user["metadata"]["finalizers"] = json!(["example.com/hold"]);
        space.create(&space.core("pods"), user).await;

        let (used, unused) = (space.core("persistentvolumeclaims/used"), space.core("persistentvolumeclaims/unused"));
        space.client.delete(&used).await.ok();
        space.client.delete(&unused).await.ok();
        // Nobody holds the other one; it is deleted later, so the first one had its turn.
        space.client.until_gone(&unused).await;
        assert!(space.client.get(&used).await.ok()["metadata"]["deletionTimestamp"].is_string());

        let free = json!({ "metadata": { "finalizers": null } });
        let user = space.core("pods/user");
        space.client.patch(&user, "merge", &free).await.ok();
        space.client.delete_with(&user, &json!({ "gracePeriodSeconds": 0 })).await.ok();
        space.client.until_gone(&used).await;

        // A namespace with a protected claim and volumes goes as a whole.
        space.create(&space.core("persistentvolumeclaims"), claim("left")).await;
        space.client.delete("/api/v1/namespaces/claims").await.ok();
        space.client.until_gone("/api/v1/namespaces/claims").await;
    });
}

#[test]
fn a_class_of_attributes_is_kept_while_a_volume_names_it() {
    run(async {
        let cluster = Cluster::builder().hollow_nodes(0).start().await.expect("a cluster");
        let space = Space::new(&cluster, "attributes").await;
        let classes = "/apis/storage.k8s.io/v1/volumeattributesclasses";
        for name in ["used", "unused"] {
            let class = json!({
                "metadata": { "name": name }, "driverName": "disk.example.com", "parameters": { "iops": "100" },
            });
            let made = space.create(classes, class).await;
            assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/vac-protection"]));
        }
        let volume = json!({ "metadata": { "name": "v" }, "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": "used",
            "csi": { "driver": "disk.example.com", "volumeHandle": "h" },
        } });
        space.create("/api/v1/persistentvolumes", volume).await;

        let (used, unused) = (format!("{classes}/used"), format!("{classes}/unused"));
        space.client.delete(&used).await.ok();
        space.client.delete(&unused).await.ok();
        space.client.until_gone(&unused).await;
        assert!(space.client.get(&used).await.ok()["metadata"]["deletionTimestamp"].is_string());
        space.client.delete("/api/v1/persistentvolumes/v").await.ok();
        space.client.until_gone(&used).await;
    });
}

#[test]
fn a_claim_or_an_ingress_without_a_class_gets_the_default() {
    run(async {
        let cluster = crate::bare().start().await.expect("a cluster");
        let space = Space::new(&cluster, "classes").await;
        let claims = space.core("persistentvolumeclaims");
        let classes = ["/apis/storage.k8s.io/v1/storageclasses", "/apis/networking.k8s.io/v1/ingressclasses"];
        let default = |key: &str| json!({ "name": "fast", "annotations": { key: "true" } });
        let class = json!({
            "metadata": default("storageclass.kubernetes.io/is-default-class"), "provisioner": "example.com/disk",
        });
        gets_default(&space, &claims, claim, "storageClassName", (classes[0], class)).await;
        let ingresses = "/apis/networking.k8s.io/v1/namespaces/classes/ingresses";
        let ingress = |name: &str| {
            json!({ "metadata": { "name": name }, "spec": {
                "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } },
            } })
        };
        let class = json!({
            "metadata": default("ingressclass.kubernetes.io/is-default-class"),
            "spec": { "controller": "example.com/proxy" },
        });
        gets_default(&space, ingresses, ingress, "ingressClassName", (classes[1], class)).await;
    });
}

/// Makes objects before and after there is a default class.
async fn gets_default(
    space: &Space,
    all: &str,
    object: impl Fn(&str) -> Value,
    field: &str,
    (classes, class): (&str, Value),
) {
    let none = space.create(all, object("before")).await;
    assert_eq!(none["spec"][field], Value::Null);
    space.create(classes, class).await;
    assert_eq!(space.create(all, object("after")).await["spec"][field], "fast");
    let mut own = object("own");
    own["spec"][field] = "other".into();
    assert_eq!(space.create(all, own).await["spec"][field], "other");
}
