//! A policy rule: what it matches, what it covers, and how it reads in an error.
//!
//! Follows `rbac.authorization.k8s.io/v1` `PolicyRule`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use api::Value;
use api::document::{self, Map};
use api::field::quote;

use super::Attributes;

/// The words of one list of a rule, in the order in which they were written.
pub type Words = Box<[Arc<str>]>;

/// Verbs that have a bit of their own; any other one shares [`OTHER`].
const VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
    "approve",
    "sign",
    "proxy",
    "post",
    "put",
    "head",
];
const OTHER: u32 = 1 << 31;
const EVERY: u32 = u32::MAX;

fn verb_bit(verb: &str) -> u32 {
    VERBS.iter().position(|v| *v == verb).map_or(OTHER, |at| 1 << at)
}

/// Keeps one copy of each word: the rules of a cluster are made of a few hundred.
#[derive(Default)]
pub struct Vocabulary {
    words: HashSet<Arc<str>>,
    /// Words that nobody uses any more are dropped when there are more than this.
    purge_at: usize,
}

impl Vocabulary {
    pub fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return word.clone();
        }
        if self.words.len() >= self.purge_at.max(1024) {
            self.words.retain(|word| Arc::strong_count(word) > 1);
            self.purge_at = self.words.len() * 2;
        }
        let word: Arc<str> = text.into();
        self.words.insert(word.clone());
        word
    }

    fn words(&mut self, rule: &Value, key: &str) -> Words {
        document::get_list(rule, key).iter().filter_map(Value::as_str).map(|text| self.word(text)).collect()
    }
}

/// What may be done to what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// One bit a known verb, [`EVERY`] for `*`: most rules are passed over by this alone.
    mask: u32,
    pub verbs: Words,
    pub api_groups: Words,
    pub resources: Words,
    pub resource_names: Words,
    pub non_resource_urls: Words,
}

/// A request with its verb looked up, to be held against many rules.
pub struct Request<'a> {
    bit: u32,
    attributes: &'a Attributes<'a>,
}

impl<'a> Request<'a> {
    pub fn new(attributes: &'a Attributes<'a>) -> Request<'a> {
        Request { bit: verb_bit(attributes.verb), attributes }
    }
}

fn has(words: &[Arc<str>], wanted: &str) -> bool {
    words.iter().any(|word| **word == *wanted)
}

fn has_or_all(words: &[Arc<str>], wanted: &str) -> bool {
    words.iter().any(|word| **word == *"*" || **word == *wanted)
}

/// Whether a rule's URL, which may end in `*`, takes in a path.
fn url_takes(url: &str, path: &str) -> bool {
    url == path || (url.ends_with('*') && path.starts_with(url.trim_end_matches('*')))
}

/// Whether a rule's resource (`pods`, `pods/log`, `*/scale`, `*`) is the requested one.
fn resource_is(word: &str, resource: &str, subresource: &str) -> bool {
    if word == "*" || subresource.is_empty() {
        return word == "*" || word == resource;
    }
    match word.strip_suffix(subresource).and_then(|rest| rest.strip_suffix('/')) {
        Some(parent) => parent == "*" || parent == resource,
        None => false,
    }
}

impl Rule {
    /// Reads a `PolicyRule`; what is not a list of strings counts as empty.
    pub fn parse(value: &Value, vocabulary: &mut Vocabulary) -> Rule {
        let mut rule = Rule {
            mask: 0,
            verbs: vocabulary.words(value, "verbs"),
            api_groups: vocabulary.words(value, "apiGroups"),
            resources: vocabulary.words(value, "resources"),
            resource_names: vocabulary.words(value, "resourceNames"),
            non_resource_urls: vocabulary.words(value, "nonResourceURLs"),
        };
        rule.mask = rule.verbs.iter().map(|v| if **v == *"*" { EVERY } else { verb_bit(v) }).fold(0, |a, b| a | b);
        rule
    }

    /// The rules of a Role or ClusterRole.
    pub fn parse_all(role: &Value, vocabulary: &mut Vocabulary) -> Vec<Rule> {
        document::get_list(role, "rules").iter().map(|rule| Rule::parse(rule, vocabulary)).collect()
    }

    /// The rule as a document.
    pub fn to_value(&self) -> Value {
        let lists = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        let given = lists.into_iter().filter(|(key, words)| *key == "verbs" || !words.is_empty());
        Value::Object(given.map(|(key, words)| (key.to_owned(), list(words))).collect::<Map>())
    }

    /// Whether this rule allows the request.
    pub fn allows(&self, request: &Request) -> bool {
        let a = request.attributes;
        if self.mask & request.bit == 0 || (request.bit == OTHER && !has_or_all(&self.verbs, a.verb)) {
            return false;
        }
        if !a.is_resource() {
            return self.non_resource_urls.iter().any(|url| url_takes(url, a.path));
        }
        has_or_all(&self.api_groups, a.group)
            && self.resources.iter().any(|word| resource_is(word, a.resource, a.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, a.name))
    }

    /// How many single rights the rule is the product of.
    fn rights(&self) -> usize {
        let resources = self.api_groups.len().saturating_mul(self.resources.len());
        let named = resources.saturating_mul(self.resource_names.len().max(1));
        self.verbs.len().saturating_mul(named.saturating_add(self.non_resource_urls.len()))
    }

    /// Whether this rule grants everything that `other` does.
    fn covers(&self, other: &Rule) -> bool {
        let all = |owned: &[Arc<str>], wanted: &[Arc<str>]| has(owned, "*") || wanted.iter().all(|w| has(owned, w));
        let resource = |word: &Arc<str>| {
            has(&self.resources, word)
                || word
                    .split_once('/')
                    .is_some_and(|(_, sub)| self.resources.iter().any(|own| resource_is(own, "*", sub)))
        };
        let names = self.resource_names.is_empty()
            || (!other.resource_names.is_empty() && other.resource_names.iter().all(|n| has(&self.resource_names, n)));
        all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && (has(&self.resources, "*") || other.resources.iter().all(resource))
            && names
            && other.non_resource_urls.iter().all(|path| self.non_resource_urls.iter().any(|url| url_takes(url, path)))
    }

    fn breakdown(&self) -> Vec<Rule> {
        let one = |word: &Arc<str>| -> Words { Box::new([word.clone()]) };
        let mut single = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let right =
                        Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                    if self.resource_names.is_empty() {
                        single.push(right);
                    } else {
                        let named = self.resource_names.iter();
                        single.extend(named.map(|name| Rule { resource_names: one(name), ..right.clone() }));
                    }
                }
            }
        }
        for url in &self.non_resource_urls {
            let urls = self.verbs.iter();
            single.extend(urls.map(|v| Rule { verbs: one(v), non_resource_urls: one(url), ..Rule::default() }));
        }
        single
    }

    /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`, as upstream's errors show rules.
    pub fn describe(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let given = parts.into_iter().filter(|(_, words)| !words.is_empty());
        let shown: Vec<String> = given.map(|(name, words)| format!("{name}:{}", quote_all(words.iter()))).collect();
        format!("{{{}}}", shown.join(", "))
    }
}

fn list(words: &[Arc<str>]) -> Value {
    words.iter().map(|word| Value::from(&**word)).collect()
}

/// `["a" "b"]`, as Go's `%q` prints a list.
pub fn quote_all<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    let quoted: Vec<String> = words.map(|word| quote(word.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

/// How many single rights [`uncovered`] takes apart at most.
pub const MAX_RIGHTS: usize = 20_000;

/// The single rights in `wanted` that no rule of `held` grants; `None` when there are more than [`MAX_RIGHTS`] to look at.
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Option<Vec<Rule>> {
    let mut missing = Vec::new();
    let mut budget = MAX_RIGHTS;
    for rule in wanted {
        if held.iter().any(|own| own.covers(rule)) {
            continue;
        }
        budget = budget.checked_sub(rule.rights())?;
        missing.extend(rule.breakdown().into_iter().filter(|right| !held.iter().any(|own| own.covers(right))));
    }
    Some(missing)
}

/// Lines of missing rights that an error shows at most.
const MAX_LINES: usize = 200;

/// Single rights as upstream's errors list them: verbs on the same resource together, sorted, one a line.
pub fn describe_rights(rights: Vec<Rule>) -> String {
    let mut verbs: BTreeMap<(Words, Words, Words), Vec<Arc<str>>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for right in rights {
        if right.non_resource_urls.is_empty() {
            let what = (right.api_groups, right.resources, right.resource_names);
            verbs.entry(what).or_default().extend(right.verbs);
        } else {
            lines.insert(right.describe());
        }
    }
    for ((api_groups, resources, resource_names), verbs) in verbs {
        let rule = Rule { api_groups, resources, resource_names, verbs: verbs.into(), ..Rule::default() };
        lines.insert(rule.describe());
    }
    let more = lines.len().saturating_sub(MAX_LINES);
    let mut text = lines.into_iter().take(MAX_LINES).collect::<Vec<_>>().join("\n");
    if more > 0 {
        text.push_str(&format!("\n... and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let value = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names});
        Rule::parse(&value, &mut Vocabulary::default())
    }

    #[test]
    fn resources_and_subresources() {
        assert!(resource_is("pods", "pods", ""));
        assert!(!resource_is("pods", "pods", "log"));
        assert!(resource_is("pods/log", "pods", "log"));
        assert!(resource_is("*/scale", "deployments", "scale"));
        assert!(!resource_is("*/scale", "deployments", ""));
        assert!(!resource_is("nodes/proxy", "proxy", ""));
    }

    #[test]
    fn a_path_rule_with_a_star_takes_in_what_lies_below() {
        assert!(url_takes("/api/*", "/api/v1"));
        assert!(!url_takes("/api/*", "/api"));
        assert!(url_takes("*", "/x"));
        assert!(!url_takes("/healthz", "/healthz/etcd"));
    }

    #[test]
    fn missing_rights_are_listed_together() {
        let held = [rule(&["get"], &["*"], &["*/status"], &[])];
        let wanted = [rule(&["get", "list", "watch"], &[""], &["pods", "pods/status"], &[])];
        let missing = uncovered(&held, &wanted).unwrap();
        assert_eq!(
            describe_rights(missing),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\" \"watch\"]}\n\
             {APIGroups:[\"\"], Resources:[\"pods/status\"], Verbs:[\"list\" \"watch\"]}"
        );
    }

    #[test]
    fn a_right_to_some_names_does_not_cover_all_names() {
        let some = rule(&["get"], &[""], &["secrets"], &["a"]);
        let all = rule(&["get"], &[""], &["secrets"], &[]);
        assert!(!some.covers(&all));
        assert!(all.covers(&some));
        assert_eq!(uncovered(&[some], &[all]).unwrap().len(), 1);
    }

    #[test]
    fn a_product_of_rights_is_not_taken_apart_without_end() {
        let many: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(uncovered(&[], &[rule(&["get"], &many, &many, &[])]).is_none());
    }
}
