use crate::plugin::{Plugin, PreFilter};
use crate::pod::Pod;

/// A pod that names its node goes there or nowhere.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn pre_filter(&self, pod: &Pod) -> PreFilter {
        match pod.node_name.as_str() {
            "" => PreFilter::All,
            name => PreFilter::Nodes(vec![name.to_owned()]),
        }
    }
}
