use std::cmp::Reverse;
use std::time::Duration;

use crate::plugin::{Plugin, SortKey};
use crate::pod::Pod;

/// Higher priority first, then first come, first served.
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn queue_sort(&self, pod: &Pod, since: Duration) -> Option<SortKey> {
        Some((Reverse(pod.priority), since))
    }
}
