//! Paths into objects, and what differs between two objects.

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// `spec.ports[0].name`, `metadata.labels["a.b/c"]`, `spec.ports[*].nodePort`.
#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Path(Vec<Step>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Item(usize),
    /// Every item of a list.
    Each,
}

impl TryFrom<String> for Path {
    type Error = String;

    fn try_from(text: String) -> Result<Path, String> {
        let mut steps = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (step, after) = first_step(rest).ok_or_else(|| format!("{text:?} is not a path, at {rest:?}"))?;
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        if steps.is_empty() { Err("a path is empty".to_owned()) } else { Ok(Path(steps)) }
    }
}

fn first_step(text: &str) -> Option<(Step, &str)> {
    if let Some(quoted) = text.strip_prefix("[\"") {
        let (key, rest) = quoted.split_once("\"]")?;
        return Some((Step::Key(key.to_owned()), rest));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (index, rest) = bracketed.split_once(']')?;
        let step = if index == "*" { Step::Each } else { Step::Item(index.parse().ok()?) };
        return Some((step, rest));
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    (end > 0).then(|| (Step::Key(text[..end].to_owned()), &text[end..]))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if key.contains(['.', '[']) => write!(f, "[{key:?}]")?,
                Step::Key(key) if position == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Each => write!(f, "[*]")?,
            }
        }
        Ok(())
    }
}

impl Path {
    /// Sets the value, making what is missing on the way; an index one past the end appends.
    pub fn set(&self, object: &mut Value, value: Value) -> Result<()> {
        let mut at = object;
        for step in &self.0 {
            at = match step {
                Step::Key(key) => {
                    if !at.is_object() {
                        *at = json!({});
                    }
                    &mut at[key]
                }
                Step::Item(index) => {
                    if !at.is_array() {
                        *at = json!([]);
                    }
                    let Value::Array(items) = at else { unreachable!("it was just made a list") };
                    if *index == items.len() {
                        items.push(Value::Null);
                    }
                    match items.get_mut(*index) {
                        Some(item) => item,
                        None => bail!("there is no item {index}"),
                    }
                }
                Step::Each => bail!("[*] can be compared, not set"),
            };
        }
        *at = value;
        Ok(())
    }

    /// Removes what is there.
    pub fn remove(&self, object: &mut Value) {
        let Some((last, way)) = self.0.split_last() else { return };
        for_each(object, way, &mut |parent| match (last, parent) {
            (Step::Key(key), Value::Object(map)) => {
                map.remove(key);
            }
            (Step::Item(index), Value::Array(items)) if *index < items.len() => {
                items.remove(*index);
            }
            _ => {}
        });
    }

    /// Replaces what is there, in every place.
    pub fn mask(&self, object: &mut Value, mask: &str) {
        for_each(object, &self.0, &mut |value| {
            if !value.is_null() {
                *value = Value::from(mask);
            }
        });
    }
}

fn for_each(value: &mut Value, way: &[Step], act: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = way.split_first() else { return act(value) };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(next) = map.get_mut(key) {
                for_each(next, rest, act);
            }
        }
        (Step::Item(index), Value::Array(items)) => {
            if let Some(next) = items.get_mut(*index) {
                for_each(next, rest, act);
            }
        }
        (Step::Each, Value::Array(items)) => items.iter_mut().for_each(|item| for_each(item, rest, act)),
        _ => {}
    }
}

/// What makes `to` of `from`, like a merge patch; the items of lists of the same length are compared one by one, as
/// `"[0]"`. `None` when they are the same.
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        _ if from == to => None,
        (Value::Object(from), Value::Object(to)) => {
            let mut out = Map::new();
            for (key, value) in to {
                match from.get(key) {
                    Some(old) => {
                        diff(old, value).map(|changed| out.insert(key.clone(), changed));
                    }
                    None => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                out.insert(key.clone(), Value::Null);
            }
            Some(Value::Object(out))
        }
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => {
            let items = from.iter().zip(to).enumerate();
            let changed = items.filter_map(|(index, (old, new))| Some((format!("[{index}]"), diff(old, new)?)));
            Some(Value::Object(changed.collect()))
        }
        _ => Some(to.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_path_sets_and_removes() {
        let mut object = json!({"spec": {"ports": [{"port": 1}]}});
        path("spec.ports[1].port").set(&mut object, json!(2)).unwrap();
        path("metadata.labels[\"a.b/c\"]").set(&mut object, json!("x")).unwrap();
        path("spec.ports[0].port").remove(&mut object);
        assert_eq!(object, json!({"spec": {"ports": [{}, {"port": 2}]}, "metadata": {"labels": {"a.b/c": "x"}}}));
        assert!(path("spec.ports[5].port").set(&mut object, json!(2)).is_err());
        assert_eq!(path("a[\"b.c\"][0].d").to_string(), "a[\"b.c\"][0].d");
        assert!(Path::try_from("a[x]".to_owned()).is_err());
    }

    #[test]
    fn a_difference_names_only_what_changed() {
        let from = json!({"a": 1, "b": [{"c": 1, "d": 2}], "e": 1});
        let to = json!({"a": 1, "b": [{"c": 3, "d": 2}], "f": 2});
        assert_eq!(diff(&from, &to), Some(json!({"b": {"[0]": {"c": 3}}, "e": null, "f": 2})));
        assert_eq!(diff(&from, &from), None);
    }
}
