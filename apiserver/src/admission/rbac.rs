//! Nobody gives away rights that they do not have: writes of roles and bindings are checked against the writer.

use super::Operation;
use crate::registry::Call;
use api::Value;
use api::status::ApiError;

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(object) = object.filter(|_| operation != Operation::Delete) else { return Ok(()) };
    if call.resource.kind.group != "rbac.authorization.k8s.io" {
        return Ok(());
    }
    let (authorizer, kind) = (&call.server.authorizer, call.resource.kind);
    match kind.kind {
        "Role" | "ClusterRole" => authorizer.check_role_write(call.user, kind, call.namespace, call.name, object, old),
        _ => authorizer.check_binding_write(call.user, kind, call.namespace, object, old),
    }
}
