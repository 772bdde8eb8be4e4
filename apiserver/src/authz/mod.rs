//! Authorization: may this user do this?
//!
//! Members of `system:masters` may do anything; everybody else what RBAC grants them. The answer comes from memory and takes well
//! under a microsecond; [`follow`] keeps the memory up with the store.

mod escalation;
mod follow;
mod index;
mod node;
pub mod review;
pub mod rule;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use api::Value;
use api::field::quote;
use api::status::ApiError;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::authn::User;
use index::{Binding, Snapshot, Writer};
use rule::{Request, Rule};

pub use follow::{KINDS, follow};

/// Members may do anything, whatever RBAC says.
pub const SUPERUSERS: &str = "system:masters";

/// What a request wants. Without a resource it is about `path`.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub namespace: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// Only for what is no resource.
    pub path: &'a str,
}

impl Attributes<'_> {
    /// A review may ask about a resource without a name: then there is no path either.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty() || self.path.is_empty()
    }
}

/// An authorizer's answer. Only `Allow` lets a request pass.
#[derive(Debug)]
pub enum Decision<'a> {
    Allow { reason: Reason<'a> },
    Deny { reason: String },
    NoOpinion { reason: String },
}

impl Decision<'_> {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }
}

/// Why something is allowed; the text is made only when somebody wants to read it (audit, reviews).
#[derive(Debug)]
pub enum Reason<'a> {
    Superuser,
    /// The user is a node.
    Node,
    Rbac(Arc<Binding>, &'a User),
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Superuser => Ok(()),
            Reason::Node => f.write_str("the user is a node"),
            Reason::Rbac(binding, user) => {
                f.write_str("RBAC: allowed by ")?;
                binding.describe(user, f)
            }
        }
    }
}

/// All that a user may do in a namespace (none: what they may do in the whole cluster).
#[derive(Debug, Default)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// Roles that bindings refer to and that do not exist.
    pub errors: Vec<String>,
}

/// Answers who may do what.
pub struct Authorizer {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
}

impl Default for Authorizer {
    fn default() -> Authorizer {
        Authorizer::new()
    }
}

impl Authorizer {
    /// Knows no RBAC objects yet: only superusers may do anything.
    pub fn new() -> Authorizer {
        let mut writer = Writer::default();
        Authorizer { snapshot: ArcSwap::from_pointee(writer.publish(None)), writer: Mutex::new(writer) }
    }

    /// Takes in an RBAC object as it is now, or that it is gone. `namespace` is empty for the cluster's.
    pub fn apply(&self, kind: &str, namespace: &str, name: &str, object: Option<&Value>) {
        let mut writer = self.writer.lock();
        writer.apply(kind, namespace, name, object);
        self.snapshot.store(Arc::new(writer.publish(Some(&self.snapshot.load()))));
    }

    /// Forgets everything and takes in these objects: kind, namespace, name, document.
    fn replace<'a>(&self, objects: impl Iterator<Item = (&'a str, &'a str, &'a str, Value)>) {
        let mut writer = Writer::default();
        for (kind, namespace, name, object) in objects {
            writer.apply(kind, namespace, name, Some(&object));
        }
        let mut current = self.writer.lock();
        self.snapshot.store(Arc::new(writer.publish(None)));
        *current = writer;
    }

    /// Decides about a request.
    pub fn authorize<'a>(&self, attributes: &Attributes<'a>) -> Decision<'a> {
        let user = attributes.user;
        if is_superuser(user) {
            return Decision::Allow { reason: Reason::Superuser };
        }
        let snapshot = self.snapshot.load();
        let request = Request::new(attributes);
        let allow = |rules: &Vec<Rule>| rules.iter().any(|rule| rule.allows(&request));
        if node::name_of(user).is_some() && snapshot.node_role.rules.load().as_deref().is_some_and(allow) {
            return Decision::Allow { reason: Reason::Node };
        }
        let mut errors = Vec::new();
        for binding in snapshot.scopes(attributes.namespace).flat_map(|scope| scope.bindings(user)) {
            match binding.role.rules.load().as_deref() {
                Some(rules) if allow(rules) => {
                    return Decision::Allow { reason: Reason::Rbac(binding.clone(), user) };
                }
                Some(_) => {}
                None => errors.push(binding.role.not_found()),
            }
        }
        let reason = if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(errors)) };
        Decision::NoOpinion { reason }
    }

    /// Everything that RBAC lets a user do, in no particular order.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let snapshot = self.snapshot.load();
        let mut found = Rules::default();
        if node::name_of(user).is_some() {
            found.rules.extend(snapshot.node_role.rules.load().iter().flat_map(|rules| rules.iter().cloned()));
        }
        let mut seen: Vec<*const Binding> = Vec::new();
        for binding in snapshot.scopes(namespace).flat_map(|scope| scope.bindings(user)) {
            if seen.contains(&Arc::as_ptr(binding)) {
                continue;
            }
            seen.push(Arc::as_ptr(binding));
            match binding.role.rules.load().as_deref() {
                Some(rules) => found.rules.extend(rules.iter().cloned()),
                None => found.errors.push(binding.role.not_found()),
            }
        }
        found
    }

    /// The rules of a role as they are applied: those that an aggregation rule selects included. `None`: no such role.
    pub fn role_rules(&self, namespace: &str, name: &str) -> Option<Arc<Vec<Rule>>> {
        self.writer.lock().rules(namespace, name)
    }
}

fn is_superuser(user: &User) -> bool {
    user.groups.iter().any(|group| group == SUPERUSERS)
}

/// Several errors as one text: each once, in brackets when there is more than one.
fn aggregate(errors: Vec<String>) -> String {
    let mut seen = HashSet::new();
    let mut once: Vec<String> = errors.into_iter().filter(|error| seen.insert(error.clone())).collect();
    if once.len() == 1 { once.remove(0) } else { format!("[{}]", once.join(", ")) }
}

/// `User "x" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn forbidden_message(a: &Attributes) -> String {
    let who = quote(&a.user.name);
    let text = if a.is_resource() {
        let slash = if a.subresource.is_empty() { "" } else { "/" };
        let what = quote(&format!("{}{slash}{}", a.resource, a.subresource));
        let place = match a.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quote(namespace)),
        };
        format!("User {who} cannot {} resource {what} in API group {} {place}", a.verb, quote(a.group))
    } else {
        format!("User {who} cannot {} path {}", a.verb, quote(a.path))
    };
    // Nothing that a browser could take for markup.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The 403 for a request that was not allowed; `reason` from the decision, may be empty.
pub fn forbidden(a: &Attributes, reason: &str) -> ApiError {
    let message = forbidden_message(a);
    let message = if reason.is_empty() { message } else { format!("{message}: {reason}") };
    ApiError::forbidden(a.group, a.resource, a.name, message)
}

#[cfg(test)]
mod tests;
