//! The FlowSchemas and PriorityLevelConfigurations that a cluster starts with.
//!
//! See "API Priority and Fairness" in upstream's documentation; names, shares and precedences are upstream's.

use api::Value;
use api::document;
use serde_json::json;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Made anew whenever somebody changes them; the server needs them.
pub const MANDATORY: &[&str] = &["exempt", "catch-all"];

/// How many queues, and among how many of them a flow is dealt.
type Queues = (i64, i64);

/// Name, nominal concurrency shares, lendable percent, and the queues where requests queue.
const LIMITED: &[(&str, i64, i64, Option<Queues>)] = &[
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

enum Subject {
    User(&'static str),
    Group(&'static str),
    /// All service accounts in kube-system.
    SystemAccounts,
}
use Subject::{Group, SystemAccounts, User};

/// What a FlowSchema matches.
enum Target {
    Everything,
    /// Groups of verbs, API groups, resources, and whether objects outside namespaces count.
    Resources(&'static [(&'static [&'static str], &'static str, &'static [&'static str], bool)]),
    Paths(&'static [&'static str]),
}
use Target::{Everything, Paths, Resources};

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    /// What tells flows apart: `ByUser`, `ByNamespace` or nothing.
    distinguisher: &'static str,
    subjects: &'static [Subject],
    target: Target,
}

const fn schema(
    name: &'static str,
    level: &'static str,
    precedence: i64,
    distinguisher: &'static str,
    subjects: &'static [Subject],
    target: Target,
) -> Schema {
    Schema { name, level, precedence, distinguisher, subjects, target }
}

const EVERYBODY: &[Subject] = &[Group("system:unauthenticated"), Group("system:authenticated")];
const MANAGER: Subject = User("system:kube-controller-manager");
const SCHEDULER: Subject = User("system:kube-scheduler");
const NODES: &[Subject] = &[Group("system:nodes")];
const LEASES: &str = "coordination.k8s.io";

#[rustfmt::skip]
const SCHEMAS: &[Schema] = &[
    schema("exempt", "exempt", 1, "", &[Group("system:masters")], Everything),
    schema("probes", "exempt", 2, "", EVERYBODY, Paths(&["/healthz", "/readyz", "/livez"])),
    schema("system-leader-election", "leader-election", 100, "ByUser", &[MANAGER, SCHEDULER, SystemAccounts],
        Resources(&[(&["get", "create", "update"], LEASES, &["leases"], false)])),
    schema("system-node-high", "node-high", 400, "ByUser", NODES,
        Resources(&[(&["*"], "", &["nodes", "nodes/status"], true), (&["*"], LEASES, &["leases"], false)])),
    schema("system-nodes", "system", 500, "ByUser", NODES, Everything),
    schema("kube-controller-manager", "workload-high", 800, "ByNamespace", &[MANAGER], Everything),
    schema("kube-scheduler", "workload-high", 800, "ByNamespace", &[SCHEDULER], Everything),
    schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", &[SystemAccounts], Everything),
    schema("service-accounts", "workload-low", 9000, "ByUser", &[Group("system:serviceaccounts")], Everything),
    schema("global-default", "global-default", 9900, "ByUser", EVERYBODY, Everything),
    schema("catch-all", "catch-all", 10000, "ByUser", EVERYBODY, Everything),
];

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": { "name": name, "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" } },
        "spec": spec,
    })
}

pub fn priority_levels() -> impl Iterator<Item = Value> {
    let exempt = json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    let limited = LIMITED.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({ "type": "Reject" }),
            Some((queues, hand_size)) => json!({
                "type": "Queue",
                "queuing": { "queues": queues, "handSize": hand_size, "queueLengthLimit": 50 },
            }),
        };
        let limits =
            json!({ "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response });
        object("PriorityLevelConfiguration", name, json!({ "type": "Limited", "limited": limits }))
    });
    std::iter::once(object("PriorityLevelConfiguration", "exempt", exempt)).chain(limited)
}

pub fn flow_schemas() -> impl Iterator<Item = Value> {
    SCHEMAS.iter().map(|schema| {
        let subjects: Value = schema.subjects.iter().map(subject).collect();
        let mut rules = json!({ "subjects": subjects });
        let resource_rule = |verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool| {
            let mut rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
            if cluster_scope {
                document::set(&mut rule, "clusterScope", true);
            }
            rule
        };
        match &schema.target {
            Everything => {
                rules["resourceRules"] = json!([resource_rule(&["*"], "*", &["*"], true)]);
                rules["nonResourceRules"] = json!([{ "verbs": ["*"], "nonResourceURLs": ["*"] }]);
            }
            Resources(list) => {
                rules["resourceRules"] = list
                    .iter()
                    .map(|(verbs, group, resources, cluster)| resource_rule(verbs, group, resources, *cluster))
                    .collect();
            }
            Paths(paths) => rules["nonResourceRules"] = json!([{ "verbs": ["get"], "nonResourceURLs": paths }]),
        }
        let mut spec = json!({
            "priorityLevelConfiguration": { "name": schema.level },
            "matchingPrecedence": schema.precedence,
            "rules": [rules],
        });
        if !schema.distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({ "type": schema.distinguisher });
        }
        object("FlowSchema", schema.name, spec)
    })
}

fn subject(subject: &Subject) -> Value {
    match subject {
        User(name) => json!({ "kind": "User", "user": { "name": name } }),
        Group(name) => json!({ "kind": "Group", "group": { "name": name } }),
        SystemAccounts => {
            json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "*", "namespace": "kube-system" } })
        }
    }
}
