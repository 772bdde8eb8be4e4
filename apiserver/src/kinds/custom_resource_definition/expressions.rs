//! `x-kubernetes-validations`: rules see the value that they stand at as `self`, with the type that its schema says, and the
//! value before an update as `oldSelf`.

use super::structural::{additional, item, type_of};
use crate::cel::{self, BOOL, DYN, Environment, STRING, Type};
use crate::kinds::internal;
use crate::kinds::path::{Path, child, entries, flag, list, opt_flag, opt_text, text};
use api::Value;
use api::field::Errors;

/// How the type of `self` is called in messages. No rule can name it.
const SELF: &str = "selfType";

/// Compiles the rules of a schema that stands at `path` and is without faults.
pub fn validate(schema: &Value, path: &Path, errors: &mut Errors) {
    let node = Node { name: SELF, is_resource: true, uncorrelated: None };
    node.visit(schema, path, errors);
}

/// Where in a schema one is.
#[derive(Clone, Copy)]
struct Node<'a> {
    /// Names the type here.
    name: &'a str,
    is_resource: bool,
    /// The list around whose items cannot be told from one another when they change.
    uncorrelated: Option<&'a Path<'a>>,
}

impl Node<'_> {
    /// Compiles the rules below and here, and gives the type of what stands here; there is none if it is not known.
    fn visit(self, schema: &Value, path: &Path, errors: &mut Errors) -> Option<Type> {
        let ty = self.type_of(schema, path, errors);
        if let Some(ty) = &ty {
            let path = path.at("x-kubernetes-validations");
            for (i, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
                self.rule(rule, ty, &path.index(i), errors);
            }
        }
        ty
    }

    fn type_of(self, schema: &Value, path: &Path, errors: &mut Errors) -> Option<Type> {
        let values = additional(schema).map(|values| {
            let name = format!("{}.@elem", self.name);
            self.below(values, &name).visit(values, &path.at("additionalProperties"), errors)
        });
        let fields = self.fields(schema, path, errors);
        let items = item(schema).map(|item| {
            let name = format!("{}.@idx", self.name);
            let mut node = self.below(item, &name);
            if text(schema, "x-kubernetes-list-type") != "map" {
                node.uncorrelated = node.uncorrelated.or(Some(path));
            }
            node.visit(item, &path.at("items"), errors)
        });
        if flag(schema, "x-kubernetes-int-or-string") {
            return Some(DYN);
        }
        if self.is_resource {
            let metadata = [("name", STRING), ("generateName", STRING)];
            let metadata = Type::object(format!("{}.metadata", self.name), metadata);
            let always = [("apiVersion", STRING), ("kind", STRING), ("metadata", metadata)];
            let always = always.map(|(name, ty)| (name.to_owned(), ty));
            return Some(Type::object(self.name, fields.into_iter().chain(always)));
        }
        match type_of(schema)? {
            "array" => Some(Type::list(items??)),
            "object" => match values {
                Some(values) => Some(Type::map(STRING, values?)),
                None => Some(Type::object(self.name, fields)),
            },
            kind => cel::scalar(match (kind, text(schema, "format")) {
                ("string", "byte") => "bytes",
                ("string", "duration") => "duration",
                ("string", "date" | "date-time") => "timestamp",
                ("string", _) => "string",
                ("boolean", _) => "bool",
                ("number", _) => "double",
                ("integer", _) => "int",
                _ => return None,
            }),
        }
    }

    fn fields(self, schema: &Value, path: &Path, errors: &mut Errors) -> Vec<(String, Type)> {
        let properties = path.at("properties");
        let mut fields = Vec::new();
        for (name, property) in entries(schema, "properties") {
            let escaped = escaped(name);
            let full = format!("{}.{}", self.name, escaped.as_deref().unwrap_or(name));
            let ty = self.below(property, &full).visit(property, &properties.key(name), errors);
            fields.extend(escaped.zip(ty));
        }
        fields
    }

    fn below<'b>(&'b self, schema: &Value, name: &'b str) -> Node<'b> {
        let is_resource = flag(schema, "x-kubernetes-embedded-resource");
        Node { name, is_resource, uncorrelated: self.uncorrelated }
    }

    fn rule(self, rule: &Value, ty: &Type, path: &Path, errors: &mut Errors) {
        let expression = text(rule, "rule");
        if expression.trim().is_empty() {
            return;
        }
        let optional = opt_flag(rule, "optionalOldSelf");
        let old = if optional == Some(true) { Type::optional(ty.clone()) } else { ty.clone() };
        let environment = Environment::new([("self", ty.clone()), ("oldSelf", old)]);
        let mut refuse = |key: &str, why: String| {
            let printed = internal::compact("ValidationRule", rule);
            errors.invalid_printed(path.at(key), printed, why.replace(self.name, SELF));
        };
        let uses_old = match cel::compile(expression, &environment) {
            Err(why) => {
                refuse("rule", why);
                false
            }
            Ok(compiled) if compiled.result != BOOL => {
                refuse("rule", "cel expression must evaluate to a bool".to_owned());
                false
            }
            Ok(compiled) => {
                if let Some(message) = opt_text(rule, "messageExpression").filter(|message| !message.is_empty()) {
                    match cel::compile(message, &environment) {
                        Err(why) => refuse("messageExpression", format!("messageExpression {why}")),
                        Ok(compiled) if compiled.result != STRING => {
                            refuse("messageExpression", "messageExpression must evaluate to a string".to_owned());
                        }
                        Ok(_) => {}
                    }
                }
                compiled.uses("oldSelf")
            }
        };
        match self.uncorrelated {
            Some(within) if uses_old => {
                const WHY: &str = "oldSelf cannot be used on the uncorrelatable portion of the schema within";
                errors.invalid(path.at("rule"), expression, format!("{WHY} {within}"));
            }
            _ => {}
        }
        if let Some(set) = optional.filter(|_| !uses_old && child(rule, "optionalOldSelf").is_some()) {
            errors.invalid(path.at("optionalOldSelf"), set, "may not be set if oldSelf is not used in rule");
        }
    }
}

/// How an expression selects a property; some it cannot.
fn escaped(property: &str) -> Option<String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
    if property.is_empty()
        || property.starts_with(|char: char| char.is_ascii_digit())
        || !property.chars().all(is_plain)
    {
        return None;
    }
    if cel::is_reserved(property) {
        return Some(format!("__{property}__"));
    }
    let escaped = property.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_names_in_expressions() {
        assert_eq!(escaped("a-b.c/d__e").as_deref(), Some("a__dash__b__dot__c__slash__d__underscores__e"));
        assert_eq!(escaped("namespace").as_deref(), Some("__namespace__"));
        assert_eq!((escaped("1a"), escaped("é")), (None, None));
    }
}
