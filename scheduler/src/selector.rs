//! Node selectors: `nodeSelector` and the terms of node affinity.

use std::collections::BTreeMap;

use component::meta::or_default;
use serde::Deserialize;

/// One term of node affinity: all its requirements hold. An empty term matches no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Term {
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Vec<Requirement>,
    /// Over fields of the node; `metadata.name` is the only one.
    #[serde(deserialize_with = "or_default")]
    pub match_fields: Vec<Requirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Requirement {
    pub key: String,
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<String>,
}

impl Term {
    /// Whether a node of this name with these labels satisfies the term. A malformed requirement matches nothing.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        !(self.match_expressions.is_empty() && self.match_fields.is_empty())
            && self.match_expressions.iter().all(|r| r.matches_label(labels.get(&r.key).map(String::as_str)))
            && self.match_fields.iter().all(|r| r.matches_field(name))
    }
}

impl Requirement {
    fn matches_label(&self, label: Option<&str>) -> bool {
        let contains = |value| self.values.iter().any(|v| v == value);
        match self.operator.as_str() {
            "In" => !self.values.is_empty() && label.is_some_and(contains),
            "NotIn" => !self.values.is_empty() && !label.is_some_and(contains),
            "Exists" => self.values.is_empty() && label.is_some(),
            "DoesNotExist" => self.values.is_empty() && label.is_none(),
            "Gt" => self.compare(label).is_some_and(|(label, bound)| label > bound),
            "Lt" => self.compare(label).is_some_and(|(label, bound)| label < bound),
            _ => false,
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        match self.values.as_slice() {
            [bound] => Some((label?.parse().ok()?, bound.parse().ok()?)),
            _ => None,
        }
    }

    fn matches_field(&self, node_name: &str) -> bool {
        let field = if self.key == "metadata.name" { node_name } else { "" };
        match (self.operator.as_str(), self.values.as_slice()) {
            ("In", [value]) => value == field,
            ("NotIn", [value]) => value != field,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(expressions: serde_json::Value) -> Term {
        serde_json::from_value(serde_json::json!({ "matchExpressions": expressions })).unwrap()
    }

    #[test]
    fn operators_follow_label_selectors() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("cores".to_owned(), "16".to_owned())]);
        for (expression, expected) in [
            (serde_json::json!({"key": "zone", "operator": "In", "values": ["a", "b"]}), true),
            (serde_json::json!({"key": "zone", "operator": "NotIn", "values": ["a"]}), false),
            (serde_json::json!({"key": "gpu", "operator": "NotIn", "values": ["a"]}), true),
            (serde_json::json!({"key": "gpu", "operator": "DoesNotExist"}), true),
            (serde_json::json!({"key": "zone", "operator": "Exists"}), true),
            (serde_json::json!({"key": "cores", "operator": "Gt", "values": ["8"]}), true),
            (serde_json::json!({"key": "cores", "operator": "Lt", "values": ["16"]}), false),
            (serde_json::json!({"key": "zone", "operator": "Gt", "values": ["8"]}), false),
            (serde_json::json!({"key": "zone", "operator": "Like", "values": ["a"]}), false),
        ] {
            assert_eq!(term(serde_json::json!([expression])).matches("n", &labels), expected, "{expression}");
        }
        assert!(!Term::default().matches("n", &labels), "an empty term matches nothing");
    }

    #[test]
    fn fields_match_the_node_name() {
        let term: Term = serde_json::from_value(
            serde_json::json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
        )
        .unwrap();
        assert!(term.matches("n1", &BTreeMap::new()));
        assert!(!term.matches("n2", &BTreeMap::new()));
    }
}
