use std::collections::BTreeSet;

use crate::plugin::{Event, Normalize, Plugin, PreFilter, Rejection};
use crate::pod::{Pod, Requirements};
use crate::selector::Term;
use crate::snapshot::{Node, NodeInfo};

/// Filters by `nodeSelector` and required node affinity; scores by the weights of the preferred terms that match.
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    /// If each required term names its nodes (as a DaemonSet's pods do), only those are looked at.
    fn pre_filter(&self, pod: &Pod) -> PreFilter {
        let Some(terms) = pod.requirements.required.as_ref().filter(|terms| !terms.is_empty()) else {
            return PreFilter::All;
        };
        let mut names = BTreeSet::new();
        for term in terms {
            match node_names(term) {
                Some(of_term) => names.extend(of_term),
                None => return PreFilter::All,
            }
        }
        if names.is_empty() {
            return PreFilter::Reject(Rejection::unresolvable("pod affinity terms conflict"));
        }
        PreFilter::Nodes(names.into_iter().map(str::to_owned).collect())
    }

    fn filter(&self, wants: &Requirements, node: &NodeInfo) -> Result<(), Rejection> {
        match matches(wants, &node.node) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector")),
        }
    }

    fn pre_score(&self, wants: &Requirements) -> bool {
        !wants.preferred.is_empty()
    }

    fn score(&self, wants: &Requirements, node: &NodeInfo) -> i64 {
        let matching = wants.preferred.iter().filter(|(_, term)| term.matches(&node.node.name, &node.node.labels));
        matching.map(|(weight, _)| weight).sum()
    }

    fn normalize_score(&self) -> Normalize {
        Normalize::ByMax
    }

    fn may_help(&self, wants: &Requirements, event: &Event<'_>) -> bool {
        match event {
            Event::Node { old, new } => matches(wants, new) && !old.is_some_and(|old| matches(wants, old)),
            _ => false,
        }
    }
}

fn matches(wants: &Requirements, node: &Node) -> bool {
    wants.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && wants.required.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(&node.name, &node.labels)))
}

/// The nodes a term names by `metadata.name`, or none when it does not bind itself to names.
fn node_names(term: &Term) -> Option<BTreeSet<&str>> {
    let named = term.match_fields.iter().filter(|r| r.key == "metadata.name" && r.operator == "In");
    named
        .map(|requirement| requirement.values.iter().map(String::as_str).collect::<BTreeSet<_>>())
        .reduce(|a, b| a.intersection(&b).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(required: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": required}}}}}))
        .unwrap()
    }

    #[test]
    fn terms_that_name_nodes_narrow_the_search() {
        let by_name = |values: &[&str]| json!({"key": "metadata.name", "operator": "In", "values": values});
        let found = |terms| NodeAffinity.pre_filter(&pod(terms));
        assert_eq!(
            found(json!([{"matchFields": [by_name(&["a"])]}, {"matchFields": [by_name(&["b"])]}])),
            PreFilter::Nodes(vec!["a".into(), "b".into()])
        );
        assert_eq!(
            found(
                json!([{"matchFields": [by_name(&["a"])]}, {"matchExpressions": [{"key": "x", "operator": "Exists"}]}])
            ),
            PreFilter::All
        );
        assert_eq!(
            found(json!([{"matchFields": [by_name(&["a"]), by_name(&["b"])]}])),
            PreFilter::Reject(Rejection::unresolvable("pod affinity terms conflict"))
        );
    }
}
