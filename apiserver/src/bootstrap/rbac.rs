//! The words in which the bootstrap roles and bindings are written, and what they become.

use api::Value;
use api::document::{self, Map};
use serde_json::json;

use super::cluster_roles::CLUSTER_ROLES;
use super::controller_roles::CONTROLLER_ROLES;

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
const CONTROLLER: &str = "system:controller:";

pub const READ: &str = "get list watch";
pub const WRITE: &str = "create delete deletecollection patch update";
pub const READ_WRITE: &str = "create delete deletecollection get list patch update watch";
pub const EVENTS: Rule = rule("create patch update", "core events.k8s.io", "events");

/// Lists of words with spaces between them; `core` stands for the core group.
#[derive(Clone, Copy)]
pub struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// A right to resources.
pub const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    Rule { verbs, groups, resources, names: "", urls: "" }
}

/// A right to paths.
pub const fn urls(verbs: &'static str, urls: &'static str) -> Rule {
    Rule { verbs, groups: "", resources: "", names: "", urls }
}

impl Rule {
    /// Only to the resources with these names.
    pub const fn names(self, names: &'static str) -> Rule {
        Rule { names, ..self }
    }

    fn document(&self) -> Value {
        let lists = [
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.urls),
            ("verbs", self.verbs),
        ];
        let word = |word: &str| Value::from(if word == "core" { "" } else { word });
        let given = lists.into_iter().filter(|(_, words)| !words.is_empty());
        given.map(|(key, words)| (key.to_owned(), words.split_whitespace().map(word).collect())).collect::<Map>().into()
    }
}

/// A Role or, without a namespace, a ClusterRole.
pub struct Role {
    namespace: &'static str,
    name: &'static str,
    /// Empty: the rules of the roles that are part of this one.
    rules: &'static [Rule],
    /// The role that takes in the rules of this one.
    part_of: &'static str,
}

pub const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace: "", name, rules, part_of: "" }
}

const fn namespaced(namespace: &'static str, name: &'static str, rules: &'static [Rule]) -> Role {
    Role { namespace, name, rules, part_of: "" }
}

/// A role that gathers the rules of those that are [`Role::part_of`] it.
pub const fn aggregated(name: &'static str) -> Role {
    role(name, &[])
}

impl Role {
    pub const fn part_of(self, part_of: &'static str) -> Role {
        Role { part_of, ..self }
    }

    /// `prefix` goes before the name.
    fn document(&self, prefix: &str) -> Value {
        let kind = if self.namespace.is_empty() { "ClusterRole" } else { "Role" };
        let mut role = object(kind, self.namespace, &format!("{prefix}{}", self.name));
        if !self.part_of.is_empty() {
            let labels = document::child(document::metadata_mut(&mut role), "labels");
            labels.insert(format!("{AGGREGATE}{}", self.part_of), "true".into());
        }
        if self.rules.is_empty() {
            let label: Map = [(format!("{AGGREGATE}{}", self.name), "true".into())].into_iter().collect();
            role["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": label }] });
            role["rules"] = Value::Null;
        } else {
            role["rules"] = self.rules.iter().map(Rule::document).collect();
        }
        role
    }
}

/// An object with the metadata of all that is made here: `autoupdate` says that a later version may add to it.
fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
            "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        },
    });
    if !namespace.is_empty() {
        document::set(&mut object, "metadata.namespace", namespace);
    }
    object
}

enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In kube-system.
    Account(&'static str),
}
use Subject::{Account, Group, User};

impl Subject {
    fn document(&self) -> Value {
        match self {
            User(name) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
            Group(name) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
            Account(name) => json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" }),
        }
    }
}

/// A binding to a ClusterRole, or in a namespace to a Role.
fn binding(namespace: &str, name: &str, role: &str, subjects: &[Subject]) -> Value {
    let (kind, role_kind) =
        if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut binding = object(kind, namespace, name);
    binding["roleRef"] = json!({ "apiGroup": GROUP, "kind": role_kind, "name": role });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(Subject::document).collect();
    }
    binding
}

/// Who has the ClusterRole of the same name. Nobody has `system:node`: see [`crate::authz`] for what nodes may do.
const CLUSTER_BINDINGS: &[(&str, &[Subject])] = &[
    ("cluster-admin", &[Group("system:masters")]),
    ("system:monitoring", &[Group("system:monitoring")]),
    ("system:discovery", &[Group("system:authenticated")]),
    ("system:basic-user", &[Group("system:authenticated")]),
    ("system:public-info-viewer", &[Group("system:authenticated"), Group("system:unauthenticated")]),
    ("system:node-proxier", &[User("system:kube-proxy")]),
    ("system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    ("system:kube-dns", &[Account("kube-dns")]),
    ("system:kube-scheduler", &[User("system:kube-scheduler")]),
    ("system:volume-scheduler", &[User("system:kube-scheduler")]),
    ("system:node", &[]),
    ("system:service-account-issuer-discovery", &[Group("system:serviceaccounts")]),
];

#[rustfmt::skip]
const NAMESPACE_ROLES: &[Role] = &[
    namespaced("kube-public", "system:controller:bootstrap-signer", &[
        rule(READ, "core", "configmaps"),
        rule("update", "core", "configmaps").names("cluster-info"),
        EVENTS,
    ]),
    namespaced("kube-system", "extension-apiserver-authentication-reader", &[
        rule(READ, "core", "configmaps").names("extension-apiserver-authentication"),
    ]),
    namespaced("kube-system", "system::leader-locking-kube-controller-manager", &[
        rule("create get list update watch", "coordination.k8s.io", "leases"),
        rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
    ]),
    namespaced("kube-system", "system::leader-locking-kube-scheduler", &[
        rule("create get list update watch", "coordination.k8s.io", "leases"),
        rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
    ]),
    namespaced("kube-system", "system:controller:bootstrap-signer", &[rule(READ, "core", "secrets")]),
    namespaced("kube-system", "system:controller:cloud-provider", &[
        rule("create get list watch", "core", "configmaps"),
    ]),
    namespaced("kube-system", "system:controller:token-cleaner", &[
        rule("delete get list watch", "core", "secrets"),
        EVENTS,
    ]),
];

/// Namespace, binding, role and who has it.
const NAMESPACE_BINDINGS: &[(&str, &str, &str, &[Subject])] = &[
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[
            User("system:kube-controller-manager"),
            Account("kube-controller-manager"),
            Account("leader-election-controller"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[User("system:kube-scheduler"), Account("kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[Account("cloud-provider")],
    ),
    ("kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner", &[Account("token-cleaner")]),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
];

pub fn cluster_roles() -> impl Iterator<Item = Value> {
    let controllers = CONTROLLER_ROLES.iter().map(|role| role.document(CONTROLLER));
    CLUSTER_ROLES.iter().map(|role| role.document("")).chain(controllers)
}

/// Upstream runs each controller with its own service account. Here all run with the controller manager's identity, which the
/// bindings `coracle:controller:NAME` give the controllers' roles.
pub fn cluster_role_bindings() -> impl Iterator<Item = Value> {
    let general = CLUSTER_BINDINGS.iter().map(|(name, subjects)| binding("", name, name, subjects));
    let controllers = CONTROLLER_ROLES.iter().flat_map(|controller| {
        let role = format!("{CONTROLLER}{}", controller.name);
        let own = format!("coracle:controller:{}", controller.name);
        let manager = User("system:kube-controller-manager");
        [binding("", &role, &role, &[Account(controller.name)]), binding("", &own, &role, &[manager])]
    });
    general.chain(controllers)
}

pub fn roles() -> impl Iterator<Item = Value> {
    NAMESPACE_ROLES.iter().map(|role| role.document(""))
}

pub fn role_bindings() -> impl Iterator<Item = Value> {
    NAMESPACE_BINDINGS.iter().map(|(namespace, name, role, subjects)| binding(namespace, name, role, subjects))
}
