//! The RBAC objects of the store, indexed by who they are about.
//!
//! Readers see an immutable [`Snapshot`] of the bindings. A binding holds the [`Slot`] of its role, so a changed role takes effect
//! by one pointer swap and only changed bindings rebuild (their namespace's part of) the snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use api::Value;
use api::document::{self, Map};
use api::field::quote;
use arc_swap::ArcSwapOption;

use super::rule::{Rule, Vocabulary};
use crate::authn::User;

/// The role whose rules every node has.
pub const NODE_ROLE: &str = "system:node";

/// A role that exists or that a binding refers to. Its namespace is empty for a ClusterRole.
#[derive(Debug)]
pub struct Slot {
    namespace: Arc<str>,
    name: Arc<str>,
    /// `None` while there is no such role.
    pub rules: ArcSwapOption<Vec<Rule>>,
}

impl Slot {
    fn kind(&self) -> &'static str {
        if self.namespace.is_empty() { "ClusterRole" } else { "Role" }
    }

    /// What upstream says of a binding's role that does not exist.
    pub fn not_found(&self) -> String {
        let kind = self.kind().to_lowercase();
        format!("{kind}.rbac.authorization.k8s.io {} not found", quote(&self.name))
    }
}

/// Whom a binding is about; users include service accounts, by their user names.
#[derive(Debug)]
enum Subject {
    User(Arc<str>),
    Group(Arc<str>),
    ServiceAccount { namespace: Arc<str>, name: Arc<str>, user: Arc<str> },
}

impl Subject {
    fn is(&self, who: &User) -> bool {
        match self {
            Subject::User(name) | Subject::ServiceAccount { user: name, .. } => *who.name == **name,
            Subject::Group(name) => who.groups.iter().any(|group| **group == **name),
        }
    }
}

/// A RoleBinding, or a ClusterRoleBinding where the namespace is empty.
#[derive(Debug)]
pub struct Binding {
    namespace: Arc<str>,
    name: Arc<str>,
    subjects: Box<[Subject]>,
    pub role: Arc<Slot>,
}

impl Binding {
    fn parse(namespace: &str, name: &str, value: &Value, writer: &mut Writer) -> Option<Binding> {
        let role_namespace = match document::get_str(value, "roleRef.kind") {
            "ClusterRole" => "",
            "Role" if !namespace.is_empty() => namespace,
            _ => return None,
        };
        let role = writer.slot(role_namespace, document::get_str(value, "roleRef.name"));
        let words = &mut writer.vocabulary;
        let subjects = document::get_list(value, "subjects").iter().filter_map(|subject| {
            let name = document::get_str(subject, "name");
            match document::get_str(subject, "kind") {
                "User" => Some(Subject::User(words.word(name))),
                "Group" => Some(Subject::Group(words.word(name))),
                "ServiceAccount" => {
                    let own = document::get_str(subject, "namespace");
                    let namespace = if own.is_empty() { namespace } else { own };
                    let user = words.word(&format!("system:serviceaccount:{namespace}:{name}"));
                    let (namespace, name) = (words.word(namespace), words.word(name));
                    (!namespace.is_empty()).then_some(Subject::ServiceAccount { namespace, name, user })
                }
                _ => None,
            }
        });
        let subjects = subjects.collect();
        Some(Binding { namespace: words.word(namespace), name: words.word(name), subjects, role })
    }

    /// `ClusterRoleBinding "a" of ClusterRole "b" to Group "c"`, with the first subject that is the user.
    pub fn describe(&self, who: &User, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match &*self.namespace {
            "" => ("ClusterRoleBinding", self.name.to_string()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        write!(f, "{kind} {} of {} {} to ", quote(&name), self.role.kind(), quote(&self.role.name))?;
        match self.subjects.iter().find(|subject| subject.is(who)) {
            Some(Subject::User(name)) => write!(f, "User {}", quote(name)),
            Some(Subject::Group(name)) => write!(f, "Group {}", quote(name)),
            Some(Subject::ServiceAccount { namespace, name, .. }) => {
                write!(f, "ServiceAccount {}", quote(&format!("{name}/{namespace}")))
            }
            None => write!(f, "User {}", quote(&who.name)),
        }
    }
}

/// The bindings of one namespace, or those of the whole cluster, by subject.
#[derive(Debug, Default)]
pub struct Scope {
    users: HashMap<Arc<str>, Vec<Arc<Binding>>>,
    groups: HashMap<Arc<str>, Vec<Arc<Binding>>>,
}

impl Scope {
    fn build<'a>(bindings: impl Iterator<Item = &'a Arc<Binding>>) -> Scope {
        let mut scope = Scope::default();
        for binding in bindings {
            for subject in &binding.subjects {
                let list = match subject {
                    Subject::User(name) | Subject::ServiceAccount { user: name, .. } => {
                        scope.users.entry(name.clone()).or_default()
                    }
                    Subject::Group(name) => scope.groups.entry(name.clone()).or_default(),
                };
                if !list.last().is_some_and(|last| Arc::ptr_eq(last, binding)) {
                    list.push(binding.clone());
                }
            }
        }
        scope
    }

    /// The bindings about a user or a group of theirs; one that is about both comes twice.
    pub fn bindings<'a>(&'a self, who: &'a User) -> impl Iterator<Item = &'a Arc<Binding>> {
        let groups = who.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        self.users.get(who.name.as_str()).into_iter().chain(groups).flatten()
    }
}

/// All bindings as of some moment.
#[derive(Debug)]
pub struct Snapshot {
    pub cluster: Arc<Scope>,
    namespaces: HashMap<Arc<str>, Arc<Scope>>,
    pub node_role: Arc<Slot>,
}

/// What an aggregated role has been given so far.
#[derive(Default)]
struct Selected<'a> {
    roles: HashSet<&'a str>,
    known: HashSet<Rule>,
    rules: Vec<Rule>,
}

impl Snapshot {
    /// The cluster's bindings, then the namespace's.
    pub fn scopes(&self, namespace: &str) -> impl Iterator<Item = &Scope> {
        let own = if namespace.is_empty() { None } else { self.namespaces.get(namespace) };
        [Some(&self.cluster), own].into_iter().flatten().map(|scope| &**scope)
    }
}

struct ClusterRole {
    labels: Option<Map>,
    /// `aggregationRule.clusterRoleSelectors`; empty for a role with rules of its own.
    selectors: Vec<Value>,
    rules: Arc<Vec<Rule>>,
}

/// What the index is made of; one writer at a time.
#[derive(Default)]
pub struct Writer {
    vocabulary: Vocabulary,
    /// By namespace and name.
    slots: HashMap<(Arc<str>, Arc<str>), Arc<Slot>>,
    cluster_roles: BTreeMap<Arc<str>, ClusterRole>,
    /// By namespace, then by name.
    bindings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Binding>>>,
    /// What has to be worked out anew before the next snapshot.
    changed_scopes: HashSet<Arc<str>>,
    changed_cluster_roles: bool,
}

impl Writer {
    fn slot(&mut self, namespace: &str, name: &str) -> Arc<Slot> {
        let key = (self.vocabulary.word(namespace), self.vocabulary.word(name));
        let (namespace, name) = key.clone();
        let make = || Arc::new(Slot { namespace, name, rules: ArcSwapOption::empty() });
        self.slots.entry(key).or_insert_with(make).clone()
    }

    /// The rules of a role as they are applied.
    pub fn rules(&self, namespace: &str, name: &str) -> Option<Arc<Vec<Rule>>> {
        self.slots.get(&(namespace.into(), name.into()))?.rules.load_full()
    }

    /// Takes in one object; `None` when it was deleted. Kinds outside RBAC are passed over.
    pub fn apply(&mut self, kind: &str, namespace: &str, name: &str, object: Option<&Value>) {
        match kind {
            "Role" => self.set_role(namespace, name, object),
            "ClusterRole" => self.set_cluster_role(name, object),
            "RoleBinding" | "ClusterRoleBinding" => self.set_binding(namespace, name, object),
            _ => {}
        }
    }

    fn set_role(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let rules = object.map(|role| Arc::new(Rule::parse_all(role, &mut self.vocabulary)));
        self.slot(namespace, name).rules.store(rules);
        if object.is_none() {
            self.forget_unused_slots();
        }
    }

    fn set_cluster_role(&mut self, name: &str, object: Option<&Value>) {
        self.changed_cluster_roles = true;
        let word = self.vocabulary.word(name);
        let Some(object) = object else {
            self.cluster_roles.remove(&word);
            self.slot("", name).rules.store(None);
            self.forget_unused_slots();
            return;
        };
        let role = ClusterRole {
            labels: document::labels(object).cloned(),
            selectors: document::get_list(object, "aggregationRule.clusterRoleSelectors").to_vec(),
            rules: Arc::new(Rule::parse_all(object, &mut self.vocabulary)),
        };
        // An aggregated role keeps its rules until they are worked out anew.
        if role.selectors.is_empty() {
            self.slot("", name).rules.store(Some(role.rules.clone()));
        }
        self.cluster_roles.insert(word, role);
    }

    fn set_binding(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let scope = self.vocabulary.word(namespace);
        let word = self.vocabulary.word(name);
        let binding = object.and_then(|value| Binding::parse(namespace, name, value, self));
        let bindings = self.bindings.entry(scope.clone()).or_default();
        match binding {
            Some(binding) => drop(bindings.insert(word, Arc::new(binding))),
            None => drop(bindings.remove(&word)),
        }
        if bindings.is_empty() {
            self.bindings.remove(&scope);
        }
        self.changed_scopes.insert(scope);
    }

    fn forget_unused_slots(&mut self) {
        self.slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.rules.load().is_some());
    }

    /// Works out what the changes since the last call mean.
    pub fn publish(&mut self, old: Option<&Snapshot>) -> Snapshot {
        if std::mem::take(&mut self.changed_cluster_roles) {
            self.aggregate();
        }
        let node_role = self.slot("", NODE_ROLE);
        let build = |writer: &Writer, scope: &str| {
            let bindings = writer.bindings.get(scope);
            Arc::new(Scope::build(bindings.into_iter().flat_map(BTreeMap::values)))
        };
        let mut namespaces = old.map(|old| old.namespaces.clone()).unwrap_or_default();
        let mut cluster = old.map(|old| old.cluster.clone()).unwrap_or_default();
        for scope in std::mem::take(&mut self.changed_scopes) {
            if scope.is_empty() {
                cluster = build(self, "");
            } else if self.bindings.contains_key(&scope) {
                let built = build(self, &scope);
                namespaces.insert(scope, built);
            } else {
                namespaces.remove(&scope);
            }
        }
        Snapshot { cluster, namespaces, node_role }
    }

    /// Gives each role with an aggregation rule the rules of those that it selects, as upstream's
    /// clusterrole-aggregation-controller writes them.
    fn aggregate(&mut self) {
        let aggregated: Vec<&Arc<str>> =
            self.cluster_roles.iter().filter(|(_, role)| !role.selectors.is_empty()).map(|(name, _)| name).collect();
        let mut found = Vec::new();
        for name in aggregated {
            let mut selected = Selected::default();
            self.collect(name, &mut selected);
            found.push((name.clone(), selected.rules));
        }
        for (name, rules) in found {
            self.slot("", &name).rules.store(Some(Arc::new(rules)));
        }
    }

    /// Adds the rules of a role, in the order of the selected roles' names; roles may select each other.
    fn collect<'a>(&'a self, name: &'a str, selected: &mut Selected<'a>) {
        let Some(role) = self.cluster_roles.get(name).filter(|_| selected.roles.insert(name)) else { return };
        if role.selectors.is_empty() {
            for rule in role.rules.iter() {
                if selected.known.insert(rule.clone()) {
                    selected.rules.push(rule.clone());
                }
            }
            return;
        }
        for (other, candidate) in &self.cluster_roles {
            if role.selectors.iter().any(|selector| selects(selector, candidate.labels.as_ref())) {
                self.collect(other, selected);
            }
        }
    }
}

/// Whether a `metav1.LabelSelector` takes in an object with these labels.
fn selects(selector: &Value, labels: Option<&Map>) -> bool {
    let label = |key: &str| labels.and_then(|map| map.get(key)).and_then(Value::as_str);
    let equal = |(key, value): (&String, &Value)| label(key).is_some() && label(key) == value.as_str();
    let expression = |expression: &Value| {
        let actual = label(document::get_str(expression, "key"));
        let among = || document::get_list(expression, "values").iter().any(|value| value.as_str() == actual);
        match document::get_str(expression, "operator") {
            "In" => actual.is_some() && among(),
            "NotIn" => actual.is_none() || !among(),
            "Exists" => actual.is_some(),
            "DoesNotExist" => actual.is_none(),
            _ => false,
        }
    };
    document::get_map(selector, "matchLabels").is_none_or(|wanted| wanted.iter().all(equal))
        && document::get_list(selector, "matchExpressions").iter().all(expression)
}
