//! What Kubernetes says about its types and fields, for OpenAPI and `kubectl explain`.

use super::Type;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The texts of one built-in type; empty for other types.
#[derive(Debug, Clone, Copy, Default)]
pub struct Description {
    text: &'static str,
    /// One line a field: a space, its name, a space, its text. The values of an enumeration follow, a JSON list after two
    /// spaces.
    fields: &'static str,
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

impl Description {
    /// What Kubernetes says about a built-in type, among them those that are no objects
    /// (`io.k8s.apimachinery.pkg.api.resource.Quantity`).
    pub fn of(name: &str) -> Description {
        static INDEX: OnceLock<HashMap<&'static str, Description>> = OnceLock::new();
        let index = INDEX.get_or_init(|| index(include_str!("../../schema/descriptions.txt")));
        index.get(name.strip_prefix("io.k8s.").unwrap_or(name)).copied().unwrap_or_default()
    }

    /// About the type.
    pub fn text(&self) -> Cow<'static, str> {
        unescape(self.text)
    }

    /// About a field; empty where nothing is said.
    pub fn field(&self, name: &str) -> Cow<'static, str> {
        let line = self.fields.lines().find_map(|line| line.strip_prefix(' ')?.strip_prefix(name)?.strip_prefix(' '));
        match (line, name) {
            (Some(line), _) => unescape(line),
            (None, "apiVersion") => API_VERSION.into(),
            (None, "kind") => KIND.into(),
            (None, _) => "".into(),
        }
    }

    /// The values of a field, or of its items, that is an enumeration: a JSON list.
    pub fn values(&self, name: &str) -> Option<Value> {
        let mut lines = self.fields.lines().skip_while(|line| {
            let rest = line.strip_prefix(' ').and_then(|line| line.strip_prefix(name));
            !rest.is_some_and(|rest| rest.starts_with(' '))
        });
        serde_json::from_str(lines.nth(1)?.strip_prefix("  ")?).ok()
    }
}

impl Type {
    /// What Kubernetes says about this type, if it is built in.
    pub fn description(&self) -> Description {
        Description::of(&self.name)
    }
}

fn index(text: &'static str) -> HashMap<&'static str, Description> {
    let mut index = HashMap::with_capacity(1024);
    let mut rest = text;
    while !rest.is_empty() {
        let (head, tail) = rest.split_once('\n').unwrap_or((rest, ""));
        let mut end = 0;
        for line in tail.split_inclusive('\n').take_while(|line| line.starts_with(' ')) {
            end += line.len();
        }
        let (fields, next) = tail.split_at(end);
        let (name, text) = head.split_once(' ').unwrap_or((head, ""));
        index.insert(name, Description { text, fields });
        rest = next;
    }
    index
}

fn unescape(text: &'static str) -> Cow<'static, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
            c => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use crate::schema::Schema;

    #[test]
    fn built_in_types_are_described() {
        let pod = Schema::builtin().get("io.k8s.api.core.v1.PodSpec").unwrap();
        assert_eq!(pod.description().text(), "PodSpec is a description of a pod.");
        assert!(
            pod.description().field("nodeName").starts_with("NodeName indicates in which node this pod is scheduled.")
        );
        assert_eq!(pod.description().field("none"), "");
        let policies = pod.description().values("restartPolicy").unwrap();
        assert_eq!(policies, serde_json::json!(["Always", "Never", "OnFailure"]));
        assert_eq!(pod.description().values("nodeName"), None);
    }
}
