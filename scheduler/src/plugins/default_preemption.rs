use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::cycle::{Diagnosis, fit_message};
use crate::plugin::Plugin;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// Says whether evicting pods of lower priority could help. It evicts none yet, and says so where it would matter.
pub struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn post_filter(&self, pod: &Pod, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Option<String> {
        if !pod.may_preempt {
            return Some("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
        }
        let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
        for slot in &diagnosis.resolvable {
            let reason = if snapshot.node(*slot).has_lower_priority(pod.priority) {
                "Preemption of pods with lower priority is not supported"
            } else {
                "No preemption victims found for incoming pod"
            };
            *reasons.entry(reason.into()).or_default() += 1;
        }
        let others = diagnosis.nodes - diagnosis.resolvable.len();
        if others > 0 {
            reasons.insert("Preemption is not helpful for scheduling".into(), others);
        }
        Some(format!("preemption: {}", fit_message(diagnosis.nodes, None, &reasons, None)))
    }
}
