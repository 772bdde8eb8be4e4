use crate::plugin::{Plugin, Rejection};
use crate::pod::Pod;

/// Holds a pod back until its `schedulingGates` are gone (KEP-3521).
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Rejection> {
        match pod.gates.as_slice() {
            [] => Ok(()),
            gates => Err(Rejection::unresolvable(format!("waiting for scheduling gates: [{}]", gates.join(" ")))),
        }
    }
}
