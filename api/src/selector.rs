//! Label selectors and field selectors.
//!
//! Syntax, matching and error sentences follow `k8s.io/apimachinery/pkg/labels` and `.../fields`.

mod field;
mod parse;

pub use field::{FieldSelector, FieldTerm};

use crate::field::quote;
use crate::{Map, Value, names};
use parse::Parser;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted, without repeats.
    pub values: Vec<String>,
}

/// Conditions that must all hold, or none that ever could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Matches every object.
    pub const fn everything() -> Selector {
        Selector { requirements: Vec::new(), nothing: false }
    }

    /// Matches no object: what a missing selector means.
    pub const fn nothing() -> Selector {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// Reads the string form, `a=b,c!=d,e in (x,y),!f,g>1`.
    pub fn parse(text: &str) -> Result<Selector, String> {
        let mut requirements = Parser::new(text).requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements, nothing: false })
    }

    /// Reads a `LabelSelector` object. `None` and null select nothing, an empty object everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Selector, String> {
        let Some(object) = selector.and_then(Value::as_object) else { return Ok(Selector::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key| expression.get(key).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{} is not a valid label selector operator", quote(other))),
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|v| v.as_str().map(str::to_owned)).collect();
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements, nothing: false })
    }

    /// Equality with every entry of a map, unchecked: a replication controller's or service's selector.
    pub fn from_map(labels: &Map) -> Selector {
        let requirements = labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        });
        Selector { requirements: requirements.collect(), nothing: false }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Map) -> bool {
        self.matches_by(|key| labels.get(key).and_then(Value::as_str))
    }

    /// As [`Selector::matches`], for an object that may have no labels.
    pub fn matches_labels(&self, labels: Option<&Map>) -> bool {
        self.matches_by(|key| labels?.get(key)?.as_str())
    }

    /// As [`Selector::matches`], with the labels looked up by the caller.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(lookup(&r.key)))
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The only value that a label may have, where the selector pins it to one.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|r| r.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl Requirement {
    /// Checks and makes a requirement; the error is upstream's sentence.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Requirement, String> {
        let mut errors = Vec::new();
        let mut invalid = |path: String, value: String, detail: &str| {
            errors.push(format!("{path}: Invalid value: {value}: {detail}"));
        };
        let wrong = names::qualified_name(key);
        if !wrong.is_empty() {
            invalid("key".to_owned(), quote(key), &wrong.join("; "));
        }
        let list = || Value::from(values.clone()).to_string();
        let rule = match (operator, values.len()) {
            (Operator::In | Operator::NotIn, 0) => "for 'in', 'notin' operators, values set can't be empty",
            (Operator::Equals | Operator::DoubleEquals | Operator::NotEquals, n) if n != 1 => {
                "exact-match compatibility requires one single value"
            }
            (Operator::Exists | Operator::DoesNotExist, n) if n != 0 => {
                "values set must be empty for exists and does not exist"
            }
            (Operator::GreaterThan | Operator::LessThan, n) if n != 1 => {
                "for 'Gt', 'Lt' operators, exactly one value is required"
            }
            _ => "",
        };
        if !rule.is_empty() {
            invalid("values".to_owned(), list(), rule);
        }
        for (i, value) in values.iter().enumerate() {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                invalid(format!("values[{i}]"), quote(value), rule);
            }
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                invalid(format!("values[{i}][{key}]"), quote(value), &wrong.join("; "));
            }
        }
        match errors.len() {
            0 => {
                values.sort();
                values.dedup();
                Ok(Requirement { key: key.to_owned(), operator, values })
            }
            1 => Err(errors.remove(0)),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }

    /// Whether a label with this value (`None` where there is no such label) satisfies the condition.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok();
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(among),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let integer = |text: &str| text.parse::<i64>().ok();
                let pair = value.and_then(integer).zip(self.values.first().and_then(|v| integer(v)));
                pair.is_some_and(|(have, bound)| match self.operator {
                    Operator::GreaterThan => have > bound,
                    _ => have < bound,
                })
            }
        }
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: Value) -> bool {
        Selector::parse(selector).unwrap().matches(labels.as_object().unwrap())
    }

    #[test]
    fn label_selectors_match() {
        let labels = json!({"a": "b", "n": "5", "in": "x", "e": ""});
        for yes in [
            "",
            "a=b",
            "a==b",
            "a",
            "!z",
            "z!=1",
            "a in (b,c)",
            "z notin (b)",
            "n>4",
            "n<6",
            "in=x",
            "e=",
            "e in ()",
            "a=b,n=5",
            " a = b , n ",
        ] {
            assert!(matches(yes, labels.clone()), "{yes}");
        }
        for no in ["a=c", "!a", "z", "a notin (b)", "n>5", "a>1", "a!=b", "z in (b)"] {
            assert!(!matches(no, labels.clone()), "{no}");
        }
    }

    #[test]
    fn label_selector_errors_are_upstreams() {
        for (text, error) in [
            ("a=b,", "found '', expected: identifier after ','"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err(), error, "{text}");
        }
        assert!(Selector::parse("a_/b").is_err() && Selector::parse("a=b d/e/f").is_err());
    }

    #[test]
    fn label_selector_objects() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]});
        let selector = Selector::from_object(Some(&selector)).unwrap();
        assert_eq!(selector.to_string(), "a in (x,y),b=1");
        assert!(selector.matches(json!({"a": "x", "b": "1"}).as_object().unwrap()));
        assert!(Selector::from_object(None).unwrap().is_nothing());
        assert!(Selector::from_object(Some(&json!({}))).unwrap().is_everything());
        let wrong = json!({"matchExpressions": [{"key": "a", "operator": "Is"}]});
        assert_eq!(Selector::from_object(Some(&wrong)).unwrap_err(), "\"Is\" is not a valid label selector operator");
    }

    #[test]
    fn field_selectors() {
        let selector = FieldSelector::parse("spec.nodeName!=a\\,b,metadata.name==x").unwrap();
        assert_eq!(selector.exact_value("metadata.name"), Some("x"));
        assert_eq!(selector.terms[1], FieldTerm { path: "spec.nodeName".into(), equal: false, value: "a,b".into() });
        assert_eq!(selector.to_string(), "metadata.name=x,spec.nodeName!=a\\,b");
        assert_eq!(FieldSelector::parse("abc").unwrap_err(), "invalid selector: 'abc'; can't understand 'abc'");
        assert!(FieldSelector::parse("a=b=c").is_err() && FieldSelector::parse("a=\\x").is_err());
    }
}
