//! ResourceQuotas: which objects count in one, and for how much of what.
//!
//! Follows `pkg/quota/v1/evaluator/core` and `k8s.io/apiserver/pkg/quota/v1`. Admission charges by this what is written, and the
//! controller adds up by it what is there.

mod charge;
mod claim;
mod pod;
mod resource_claim;
mod service;

pub use charge::{Change, Quota, charge};

use crate::document::{self, Value};
use crate::kinds::qualified;
use crate::quantity::{Format, Quantity};
use crate::resource_list::ResourceList;
use jiff::Timestamp;

/// How the objects of one resource count.
struct Measure {
    group: &'static str,
    resource: &'static str,
    /// What they count for by names that are fixed.
    names: &'static [&'static str],
    /// Other names that they may count for.
    also: fn(&str) -> bool,
    /// Beside `count/RESOURCE`, which is always one. Without it each object counts one for each of `names`.
    usage: Option<fn(&Value, Timestamp) -> ResourceList>,
    /// Whether an object meets a requirement of a quota.
    meets: fn(&Requirement, &Value) -> bool,
    /// Why an object cannot count for these names: what it has to specify and does not.
    unspecified: fn(&[&str], &Value) -> Option<String>,
    /// Whether an update through a subresource can change what an object, the first, counts for.
    changes: fn(&str, &Value, &Value) -> bool,
}

/// Objects that only their number counts of.
const COUNTED: Measure = Measure {
    group: "",
    resource: "",
    names: &[],
    also: |_| false,
    usage: None,
    meets: |_, _| false,
    unspecified: |_, _| None,
    changes: |_, _, _| false,
};

/// What counts for more than its number, or under more than one name.
static MEASURES: &[Measure] = &[
    pod::MEASURE,
    service::MEASURE,
    claim::MEASURE,
    resource_claim::MEASURE,
    Measure { resource: "configmaps", names: &["configmaps"], ..COUNTED },
    Measure { resource: "resourcequotas", names: &["resourcequotas"], ..COUNTED },
    Measure { resource: "replicationcontrollers", names: &["replicationcontrollers"], ..COUNTED },
    Measure { resource: "secrets", names: &["secrets"], ..COUNTED },
];

/// Resources that are never counted: what is not stored, and events.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Counts the objects of one resource.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    group: &'a str,
    resource: &'a str,
    measure: &'static Measure,
}

impl<'a> Evaluator<'a> {
    /// The evaluator of a resource; `None` where its objects are never counted.
    pub fn of(group: &'a str, resource: &'a str) -> Option<Evaluator<'a>> {
        if IGNORED.contains(&(group, resource)) {
            return None;
        }
        let known = MEASURES.iter().find(|measure| measure.group == group && measure.resource == resource);
        Some(Evaluator { group, resource, measure: known.unwrap_or(&COUNTED) })
    }

    fn count_name(&self) -> String {
        format!("count/{}", qualified(self.resource, self.group))
    }

    /// Whether a quota of this name concerns the resource's objects.
    pub fn tracks(&self, name: &str) -> bool {
        let counts = || name.strip_prefix("count/").is_some_and(|what| what == qualified(self.resource, self.group));
        self.measure.names.contains(&name) || (self.measure.also)(name) || counts()
    }

    /// Whether it is enough to know how many objects there are.
    pub fn is_count(&self) -> bool {
        self.measure.usage.is_none()
    }

    /// What an object counts for.
    pub fn usage(&self, object: &Value, now: Timestamp) -> ResourceList {
        match self.measure.usage {
            Some(usage) => {
                let mut list = usage(object, now);
                list.insert(self.count_name(), number(1));
                list
            }
            None => self.usage_of(1),
        }
    }

    /// What so many objects count for, where their number is enough.
    pub fn usage_of(&self, objects: i64) -> ResourceList {
        let names = self.measure.names.iter().map(|name| (*name).to_owned());
        names.chain([self.count_name()]).map(|name| (name, number(objects))).collect()
    }

    /// Whether an object is one of those that a quota is about.
    pub fn meets(&self, requirements: &[Requirement], object: &Value) -> bool {
        requirements.iter().all(|requirement| (self.measure.meets)(requirement, object))
    }
}

fn number(number: i64) -> Quantity {
    Quantity::from_i64(number, Format::DecimalSi)
}

/// One of the things that a quota requires of the objects that it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    scope: String,
    operator: String,
    values: Vec<String>,
}

impl Requirement {
    /// What a quota's `spec` requires, by `scopes` and `scopeSelector`.
    pub fn all(spec: &Value) -> Vec<Requirement> {
        let scopes = document::get_list(spec, "scopes").iter().filter_map(Value::as_str).map(|scope| Requirement {
            scope: scope.to_owned(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        });
        let expressions = document::get_list(spec, "scopeSelector.matchExpressions").iter().map(|expression| {
            let text = |key| document::get_str(expression, key).to_owned();
            let values = document::get_list(expression, "values").iter().filter_map(Value::as_str).map(str::to_owned);
            Requirement { scope: text("scopeName"), operator: text("operator"), values: values.collect() }
        });
        scopes.chain(expressions).collect()
    }

    /// Whether an object with these values of the scope is meant.
    fn admits(&self, values: &[&str]) -> bool {
        let listed = |value: &&str| self.values.iter().any(|wanted| wanted == value);
        match self.operator.as_str() {
            "In" => values.iter().any(listed),
            "NotIn" => values.is_empty() || values.iter().any(|value| !listed(value)),
            "Exists" => !values.is_empty(),
            "DoesNotExist" => values.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_list::shown;
    use serde_json::json;

    #[test]
    fn objects_are_counted_by_their_resource() {
        let usage = |group, resource| {
            let evaluator = Evaluator::of(group, resource)?;
            Some(shown(&evaluator.usage(&json!({}), Timestamp::UNIX_EPOCH)))
        };
        assert_eq!(usage("", "configmaps").as_deref(), Some("configmaps=1,count/configmaps=1"));
        assert_eq!(usage("apps", "deployments").as_deref(), Some("count/deployments.apps=1"));
        assert_eq!(usage("", "events"), None);
        let deployments = Evaluator::of("apps", "deployments").unwrap();
        assert!(deployments.tracks("count/deployments.apps"));
        assert!(!deployments.tracks("count/deployments") && !deployments.tracks("deployments"));
    }

    #[test]
    fn requirements_are_read_from_both_places() {
        let spec = json!({
            "scopes": ["BestEffort"],
            "scopeSelector": { "matchExpressions": [
                { "scopeName": "PriorityClass", "operator": "NotIn", "values": ["low"] },
            ] },
        });
        let all = Requirement::all(&spec);
        assert_eq!(all.len(), 2);
        assert!(all[1].admits(&[]) && all[1].admits(&["high"]) && !all[1].admits(&["low"]));
    }
}
