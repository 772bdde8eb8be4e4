//! Whether quotas allow a change, and what they are charged for it.
//!
//! Follows `CheckRequest` of `k8s.io/apiserver/pkg/admission/plugin/resourcequota`.

use super::{Evaluator, Requirement};
use crate::document::{self, Value};
use crate::quantity::Quantity;
use crate::resource_list::{ResourceList, add, list, only, shown};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A quota, as far as charging looks at it.
#[derive(Debug, Clone)]
pub struct Quota {
    pub name: String,
    /// What may be used, and what is, by the status.
    hard: ResourceList,
    used: ResourceList,
    requirements: Vec<Requirement>,
}

impl Quota {
    pub fn read(quota: &Value) -> Quota {
        Quota {
            name: document::name(quota).to_owned(),
            hard: list(quota, "status.hard"),
            used: list(quota, "status.used"),
            requirements: quota.get("spec").map(Requirement::all).unwrap_or_default(),
        }
    }

    /// The names of this quota that an evaluator counts for.
    fn tracked(&self, evaluator: &Evaluator<'_>) -> Vec<&str> {
        self.hard.keys().map(String::as_str).filter(|name| evaluator.tracks(name)).collect()
    }
}

/// A write of an object that may change what it counts for.
pub struct Change<'a> {
    evaluator: Evaluator<'a>,
    object: &'a Value,
    old: Option<&'a Value>,
    /// What a status says has happened already: it is charged, and not refused.
    enforced: bool,
    now: Timestamp,
}

impl<'a> Change<'a> {
    /// `None` where quotas have no say.
    pub fn new(
        evaluator: Evaluator<'a>,
        subresource: &str,
        object: &'a Value,
        old: Option<&'a Value>,
        now: Timestamp,
    ) -> Option<Change<'a>> {
        let counts = match old {
            None => subresource.is_empty(),
            Some(old) => (evaluator.measure.changes)(subresource, object, old),
        };
        counts.then_some(Change { evaluator, object, old, enforced: subresource != "status", now })
    }

    /// Whether the quota is about the object; why it cannot be charged for it, if so.
    fn concerns(&self, quota: &Quota) -> Result<bool, String> {
        let names = quota.tracked(&self.evaluator);
        if names.is_empty() || !self.evaluator.meets(&quota.requirements, self.object) {
            return Ok(false);
        }
        if let Some(why) = (self.evaluator.measure.unspecified)(&names, self.object) {
            return Err(format!("failed quota: {}: {why}", quota.name));
        }
        if names.iter().any(|name| !quota.used.contains_key(*name)) {
            return Err(format!("status unknown for quota: {}, resources: {}", quota.name, names.join(",")));
        }
        Ok(true)
    }
}

/// What the quotas' `status.used` is to become for each of them that has to change, by its place in `quotas`; or why the
/// change is not allowed.
pub fn charge(quotas: &[Quota], change: &Change<'_>) -> Result<Vec<(usize, ResourceList)>, String> {
    let mut concerned = Vec::new();
    for (i, quota) in quotas.iter().enumerate() {
        if change.concerns(quota)? {
            concerned.push((i, quota));
        }
    }
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let usage = change.evaluator.usage(change.object, change.now);
    let negative: Vec<&str> = usage.iter().filter(|(_, a)| a.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let before = change.old.map(|old| change.evaluator.usage(old, change.now));
    let mut charged = Vec::new();
    for (i, quota) in concerned {
        // An object that was none of the quota's before is charged whole.
        let counted = change.old.is_some_and(|old| change.evaluator.meets(&quota.requirements, old));
        let added = match &before {
            Some(before) if counted => growth(&usage, before),
            _ => usage.clone(),
        };
        if let Some(used) = charge_one(quota, added, change.enforced)? {
            charged.push((i, used));
        }
    }
    Ok(charged)
}

/// By how much each amount is more than before. What is given back is found by the controller.
fn growth(usage: &ResourceList, before: &ResourceList) -> ResourceList {
    let grown = usage.iter().map(|(name, amount)| {
        let grown = before.get(name).map_or(*amount, |before| amount.minus(*before));
        (name.clone(), grown)
    });
    grown.filter(|(_, amount)| !amount.is_negative()).collect()
}

fn charge_one(quota: &Quota, mut added: ResourceList, enforced: bool) -> Result<Option<ResourceList>, String> {
    added.retain(|name, amount| !amount.is_zero() && quota.hard.contains_key(name));
    if added.is_empty() {
        return Ok(None);
    }
    let mut used = quota.used.clone();
    add(&mut used, &added);
    let above = |name: &str, limit: &Quantity| used.get(name).is_some_and(|used| used > limit);
    let exceeded = quota.hard.iter().filter(|(name, limit)| added.contains_key(*name) && above(name, limit));
    let exceeded: BTreeSet<&str> = exceeded.map(|(name, _)| name.as_str()).collect();
    if enforced && !exceeded.is_empty() {
        let part = |list| shown(&only(list, &exceeded));
        let (requested, before, limited) = (part(&added), part(&quota.used), part(&quota.hard));
        let name = &quota.name;
        return Err(format!("exceeded quota: {name}, requested: {requested}, used: {before}, limited: {limited}"));
    }
    Ok(Some(used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quota(name: &str, hard: Value, used: Value) -> Quota {
        Quota::read(
            &json!({ "metadata": { "name": name }, "spec": { "hard": hard }, "status": { "hard": hard, "used": used } }),
        )
    }

    fn service(kind: &str, ports: usize) -> Value {
        json!({ "spec": { "type": kind, "ports": vec![json!({ "port": 80 }); ports] } })
    }

    /// What becomes of the quotas, in words.
    fn outcome(quotas: &[Quota], resource: &str, sub: &str, object: &Value, old: Option<&Value>) -> String {
        let evaluator = Evaluator::of("", resource).unwrap();
        let Some(change) = Change::new(evaluator, sub, object, old, Timestamp::UNIX_EPOCH) else {
            return "no say".to_owned();
        };
        match charge(quotas, &change) {
            Err(why) => why,
            Ok(charged) => {
                let parts: Vec<String> =
                    charged.iter().map(|(i, used)| format!("{}: {}", quotas[*i].name, shown(used))).collect();
                parts.join("; ")
            }
        }
    }

    #[test]
    fn what_is_made_is_charged_up_to_the_limit() {
        let quotas = [
            quota(
                "a",
                json!({ "services": "2", "services.nodeports": "1" }),
                json!({ "services": "1", "services.nodeports": "0" }),
            ),
            quota("b", json!({ "pods": "1" }), json!({ "pods": "1" })),
            quota("c", json!({ "services": "9" }), json!({ "services": "1", "other": "1" })),
        ];
        let create = |object: &Value| outcome(&quotas, "services", "", object, None);
        assert_eq!(create(&service("NodePort", 1)), "a: services=2,services.nodeports=1; c: other=1,services=2");
        assert_eq!(
            create(&service("NodePort", 3)),
            "exceeded quota: a, requested: services.nodeports=3, used: services.nodeports=0, limited: services.nodeports=1"
        );
        assert_eq!(outcome(&quotas, "secrets", "", &json!({}), None), "");
    }

    #[test]
    fn a_quota_without_a_status_cannot_be_charged() {
        let quotas = [quota("a", json!({ "services": "2", "services.nodeports": "1" }), json!({ "services": "1" }))];
        let create = outcome(&quotas, "services", "", &service("ClusterIP", 1), None);
        assert_eq!(create, "status unknown for quota: a, resources: services,services.nodeports");
    }

    #[test]
    fn an_update_is_charged_for_what_grows() {
        let quotas = [quota(
            "a",
            json!({ "services": "1", "services.nodeports": "2" }),
            json!({ "services": "1", "services.nodeports": "1" }),
        )];
        let (one, two, four) = (service("NodePort", 1), service("NodePort", 2), service("NodePort", 4));
        let update = |new: &Value, old: &Value| outcome(&quotas, "services", "", new, Some(old));
        assert_eq!(update(&two, &one), "a: services=1,services.nodeports=2");
        assert_eq!(update(&one, &two), "");
        assert_eq!(
            update(&four, &two),
            "exceeded quota: a, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2"
        );
        assert_eq!(outcome(&quotas, "services", "status", &two, Some(&one)), "no say");
        assert_eq!(outcome(&quotas, "configmaps", "", &one, Some(&one)), "no say");
    }

    #[test]
    fn a_pod_that_comes_into_a_scope_is_charged_whole() {
        let hard = json!({ "pods": "1" });
        let scoped = json!({ "metadata": { "name": "a" }, "spec": { "scopes": ["Terminating"] }, "status": { "hard": hard, "used": { "pods": "0" } } });
        let quotas = [Quota::read(&scoped)];
        let (old, new) = (json!({ "spec": {} }), json!({ "spec": { "activeDeadlineSeconds": 9 } }));
        assert_eq!(outcome(&quotas, "pods", "", &new, Some(&old)), "a: pods=1");
        assert_eq!(outcome(&quotas, "pods", "", &old, Some(&new)), "");
        assert_eq!(outcome(&quotas, "pods", "status", &new, Some(&old)), "no say");
    }

    #[test]
    fn a_status_is_charged_and_never_refused() {
        let hard = json!({ "requests.storage": "1Gi" });
        let quotas = [quota("a", hard.clone(), hard)];
        let claim = |allocated: &str| {
            json!({
                "spec": { "resources": { "requests": { "storage": "1Gi" } } },
                "status": { "allocatedResources": { "storage": allocated } },
            })
        };
        let update = outcome(&quotas, "persistentvolumeclaims", "status", &claim("2Gi"), Some(&claim("1Gi")));
        assert_eq!(update, "a: requests.storage=2Gi");
    }
}
