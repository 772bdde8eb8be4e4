use super::*;
use serde_json::json;

const NOW: &str = "2024-01-01T01:00:00Z";

fn row(group: &str, kind: &str, mut object: Value) -> String {
    object["metadata"]["creationTimestamp"] = "2024-01-01T00:55:00Z".into();
    let printer = printer_of(group, kind);
    let cells = (printer.cells)(&object, NOW.parse().unwrap());
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    cells.iter().map(text).collect::<Vec<_>>().join(" | ")
}

#[test]
fn every_kind_has_a_cell_for_each_column() {
    for kind in api::kinds::KINDS.iter().filter(|k| k.has_verb("get")) {
        let printer = printer_of(kind.group, kind.kind);
        let cells = (printer.cells)(&json!({}), NOW.parse().unwrap());
        // Upstream prints an age for IPAddress that has no column.
        let extra = usize::from(kind.kind == "IPAddress");
        assert_eq!(cells.len(), printer.columns.len() + extra, "{}", kind.kind);
    }
    for printer in PRINTERS {
        let known = api::kinds::KINDS.iter().any(|k| k.kind == printer.kind && k.group == printer.group);
        assert!(known || printer.kind == "Scale", "{}", printer.kind);
    }
}

/// The kinds of which upstream, too, prints only the name and the time of creation.
const CREATED_AT: [(&str, &str); 5] = [
    ("", "LimitRange"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "Role"),
    ("storage.k8s.io", "CSIStorageCapacity"),
];

#[test]
fn every_kind_has_columns_of_its_own_or_is_known_to_have_none() {
    for kind in api::kinds::KINDS.iter().filter(|k| k.has_verb("list")) {
        let has_own = printer_of(kind.group, kind.kind).kind == kind.kind;
        let has_none = CREATED_AT.contains(&(kind.group, kind.kind));
        assert!(has_own != has_none, "{} {}", kind.group, kind.kind);
    }
}

#[test]
fn a_bindings_selector_is_printed_as_go_prints_it() {
    let binding = json!({
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", "paramRef": {"selector": {
            "matchLabels": {"z": "1", "a": "b"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["y", "x"]}],
        }}},
    });
    assert_eq!(
        row("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", binding),
        "b | p | &LabelSelector{MatchLabels:map[string]string{a: b,z: 1,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[y x],},},} | 5m"
    );
}

#[test]
fn durations_have_two_figures() {
    let cases = [
        (-2, "<invalid>"),
        (-1, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (2 * 365 * 86400, "2y"),
        (3 * 365 * 86400 + 86400, "3y1d"),
        (9 * 365 * 86400, "9y"),
    ];
    for (seconds, text) in cases {
        assert_eq!(human_duration(seconds), text);
    }
}

fn pod(spec: Value, status: Value) -> String {
    let row = row("", "Pod", json!({"metadata": {"name": "p"}, "spec": spec, "status": status}));
    row.split(" | ").skip(1).take(3).collect::<Vec<_>>().join(" | ")
}

#[test]
fn pods_say_what_holds_them_back() {
    let one = || json!({"containers": [{"name": "c"}]});
    let init = || json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]});
    let state = |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]});
    assert_eq!(pod(one(), json!({"phase": "Pending"})), "0/1 | Pending | 0");
    assert_eq!(pod(one(), state(json!({"waiting": {"reason": "ErrImagePull"}}))), "0/1 | ErrImagePull | 0");
    assert_eq!(pod(one(), state(json!({"terminated": {"exitCode": 3}}))), "0/1 | ExitCode:3 | 0");
    assert_eq!(pod(one(), state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))), "0/1 | Completed | 0");
    let waiting = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]});
    assert_eq!(pod(init(), waiting), "0/1 | Init:0/1 | 0");
    let failed = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]});
    assert_eq!(pod(init(), failed), "0/1 | Init:Error | 2");
    let restarted = json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 3,
        "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2024-01-01T00:55:00Z"}}}]});
    assert_eq!(pod(one(), restarted), "1/1 | Running | 3 (5m ago)");
    let gated = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
    assert_eq!(pod(one(), gated), "0/1 | SchedulingGated | 0");
}

#[test]
fn sidecars_count_as_ready_containers() {
    let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let status = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
        "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]});
    assert_eq!(pod(spec, status), "2/2 | Running | 1");
}

#[test]
fn rows_are_upstreams() {
    let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.0", "architecture": "arm64"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    assert_eq!(
        row("", "Node", node),
        "n | Ready,SchedulingDisabled | a,control-plane | 5m | v1.36.0 | 10.0.0.1 | <none> | <unknown> | <unknown> (arm64) | <unknown>"
    );
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.9"],
        "selector": {"b": "2", "a": "1"},
        "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    assert_eq!(
        row("", "Service", service),
        "s | LoadBalancer | 10.0.0.9 | <pending> | 80:30000/TCP,53/UDP | 5m | a=1,b=2"
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}});
    assert_eq!(
        row("", "PersistentVolumeClaim", claim),
        "c | Bound | v | 1Gi | RWO,ROX | fast | <unset> | 5m | Filesystem"
    );
    let job = json!({"metadata": {"name": "j"}, "spec": {"parallelism": 3, "selector": {"matchLabels": {"a": "b"}}},
        "status": {"succeeded": 1, "startTime": "2024-01-01T00:58:30Z"}});
    assert_eq!(row("batch", "Job", job), "j | Running | 1/1 of 3 | 90s | 5m |  |  | a=b");
    let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"ports": [{"port": 80}],
        "addresses": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}, {"ip": "::1"}, {"ip": "1.1.1.4"}]}]});
    assert_eq!(row("", "Endpoints", endpoints), "e | 1.1.1.1:80,1.1.1.2:80,[::1]:80 + 1 more... | 5m");
}

#[test]
fn events_are_printed_alike_in_both_shapes() {
    let core = json!({"apiVersion": "v1", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "R", "message": " m ", "type": "Normal", "source": {"component": "c", "host": "h"},
        "firstTimestamp": "2024-01-01T00:50:00Z", "lastTimestamp": "2024-01-01T00:59:00Z", "count": 4});
    let expected = "60s | Normal | R | pod/p |  | c, h | m | 10m | 4 | e";
    assert_eq!(row("", "Event", core.clone()), expected);
    assert_eq!(row("events.k8s.io", "Event", crate::kinds::event::from_core(core)), expected);
}

#[test]
fn autoscaler_targets() {
    let object = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "5"}}},
            {"type": "External", "external": {"target": {"value": "7"}}}]},
        "status": {"currentReplicas": 2, "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]}});
    let expected = "h | Deployment/d | cpu: 40%/80%, <unknown>/5 + 1 more... | <unset> | 3 | 2 | 5m";
    assert_eq!(row("autoscaling", "HorizontalPodAutoscaler", object), expected);
}
