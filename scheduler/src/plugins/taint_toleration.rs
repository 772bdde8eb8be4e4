use crate::plugin::{Event, Normalize, Plugin, Rejection};
use crate::pod::{Requirements, Taint, Toleration};
use crate::snapshot::NodeInfo;

/// Keeps pods off nodes with NoSchedule and NoExecute taints they do not tolerate; prefers nodes with fewer
/// untolerated PreferNoSchedule taints.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, wants: &Requirements, node: &NodeInfo) -> Result<(), Rejection> {
        match tolerated(&node.node.taints, &wants.tolerations) {
            true => Ok(()),
            false => Err(Rejection::unresolvable("node(s) had untolerated taint(s)")),
        }
    }

    fn score(&self, wants: &Requirements, node: &NodeInfo) -> i64 {
        let soft = node.node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        soft.filter(|taint| !wants.tolerations.iter().any(|toleration| toleration.tolerates(taint))).count() as i64
    }

    fn normalize_score(&self) -> Normalize {
        Normalize::ByMaxReversed
    }

    fn may_help(&self, wants: &Requirements, event: &Event<'_>) -> bool {
        match event {
            Event::Node { old, new } => {
                tolerated(&new.taints, &wants.tolerations)
                    && !old.is_some_and(|old| tolerated(&old.taints, &wants.tolerations))
            }
            Event::PodFreed(_) => false,
            Event::PodChanged { old } => old.tolerations != wants.tolerations,
        }
    }
}

fn tolerated(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    let mut hard = taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.all(|taint| tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.into(), value: value.into(), effect: effect.into() }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        Toleration { key: key.into(), operator: operator.into(), value: value.into(), effect: effect.into() }
    }

    #[test]
    fn tolerations_match_by_key_operator_and_effect() {
        let taints = [taint("team", "blue", "NoSchedule")];
        for (toleration, expected) in [
            (toleration("team", "Equal", "blue", "NoSchedule"), true),
            (toleration("team", "", "blue", ""), true),
            (toleration("team", "Equal", "red", "NoSchedule"), false),
            (toleration("team", "Exists", "", "NoExecute"), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("other", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(&taints, std::slice::from_ref(&toleration)), expected, "{toleration:?}");
        }
        assert!(tolerated(&[taint("soft", "", "PreferNoSchedule")], &[]));
    }
}
