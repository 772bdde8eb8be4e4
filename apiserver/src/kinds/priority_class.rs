//! PriorityClass.

use super::Rules;
use super::path::{Path, flag, has, immutable, int, opt_text, required_one_of};
use api::field::Errors;
use api::{Value, document};

pub struct PriorityClass;

const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
/// The classes that the system itself makes, with their values.
pub const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Rules for PriorityClass {
    fn default(&self, class: &mut Value) {
        if !has(class, "preemptionPolicy") {
            document::set(class, "preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn validate_create(&self, class: &Value, errors: &mut Errors) {
        let name = document::name(class);
        let value = int(class, "value").unwrap_or_default();
        if name.starts_with("system-") {
            if let Some(why) = not_a_system_class(name, value, flag(class, "globalDefault")) {
                errors.forbidden(
                    "metadata.name",
                    format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                    ),
                );
            }
        } else if value > HIGHEST_USER_PRIORITY {
            let message = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
            errors.forbidden("value", message);
        }
        if let Some(policy) = opt_text(class, "preemptionPolicy") {
            required_one_of(errors, &Path::root("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
        }
    }

    fn validate_update(&self, class: &Value, old: &Value, errors: &mut Errors) {
        if int(class, "value").unwrap_or_default() != int(old, "value").unwrap_or_default() {
            errors.forbidden("value", "may not be changed in an update.");
        }
        immutable(errors, class, old, &Path::root(""), "preemptionPolicy");
    }

    fn undeletable(&self, name: &str) -> Option<&'static str> {
        let is_system = SYSTEM_CLASSES.iter().any(|(known, _)| *known == name);
        is_system.then_some("this is a system priority class and cannot be deleted")
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, _: &Value, _: &Value) -> bool {
        false
    }
}

/// Why this is not one of the system's own classes.
fn not_a_system_class(name: &str, value: i64, global_default: bool) -> Option<String> {
    let Some((_, expected)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *expected {
        return Some(format!("value of {name} PriorityClass must be {expected}"));
    }
    global_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn system_names_are_reserved() {
        let first = |name: &str, value: i64| {
            let mut errors = Errors::new();
            PriorityClass.validate_create(&json!({"metadata": {"name": name}, "value": value}), &mut errors);
            errors.0.first().map_or_else(String::new, ToString::to_string)
        };
        assert_eq!(first("system-node-critical", 2_000_001_000), "");
        assert!(first("system-mine", 1).ends_with("error: system-mine is not a known system priority class"));
        assert_eq!(
            first("mine", 1_000_000_001),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
        );
    }
}
