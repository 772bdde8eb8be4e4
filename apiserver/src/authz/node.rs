//! What kubelets may do.
//!
//! Upstream's Node authorizer gives a node the rights of the ClusterRole `system:node`, narrowed by a graph of the objects that its
//! pods refer to. This is the place for that graph; until it stands here, a node has all the rights of the role.

use crate::authn::User;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";

/// The node whose identity this is: user `system:node:NAME` in the group `system:nodes`.
pub fn name_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(PREFIX)?;
    user.groups.iter().any(|group| group == GROUP).then_some(name)
}
