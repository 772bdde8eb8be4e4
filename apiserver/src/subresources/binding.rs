//! `pods/binding`: the scheduler's word on which node a pod runs.

use crate::admission::pod_topology_labels;
use crate::decode;
use crate::kinds::pod;
use crate::registry::{Call, Part};
use crate::request::{Incoming, allowed, wanted_without_table};
use crate::resources::{self, Resource};
use crate::response::{self, Body};
use crate::server::ApiServer;
use crate::{authz, verbs};
use api::Value;
use api::document;
use api::status::ApiError;
use http::Response;
use serde_json::json;

pub async fn create(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let (call, validation) = verbs::writing(server, resource, incoming, "CreateOptions")?;
    let binding = decode::subresource(&call, incoming, "", "v1", "Binding", validation)?;
    bind(&call, &binding, incoming).await
}

/// `POST bindings`: the pod's name is in the object.
pub async fn create_by_name(server: &ApiServer, incoming: &Incoming) -> Result<Response<Body>, ApiError> {
    let pods = resources::builtin("", "pods");
    let (call, validation) = verbs::writing(server, pods, incoming, "CreateOptions")?;
    let binding = decode::subresource(&call, incoming, "", "v1", "Binding", validation)?;
    let name = document::name(&binding).to_owned();
    allowed(
        server,
        &authz::Attributes {
            user: call.user,
            verb: "create",
            namespace: call.namespace,
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "binding",
            name: &name,
            path: "",
        },
    )?;
    let call = Call { name: &name, warnings: Default::default(), ..call };
    bind(&call, &binding, incoming).await
}

async fn bind(call: &Call<'_>, binding: &Value, incoming: &Incoming) -> Result<Response<Body>, ApiError> {
    pod::check_binding(call.name, binding)?;
    let mut binding = binding.clone();
    if document::get_str(&binding, "target.kind") == "Node" {
        let labels = pod_topology_labels::labels_of_node(call, document::get_str(&binding, "target.name"))?;
        if !labels.is_empty() {
            document::child(document::metadata_mut(&mut binding), "labels").extend(labels);
        }
    }
    let change = |old: &Value| {
        for (what, wanted, have) in [
            ("UID", document::uid(&binding), document::uid(old)),
            ("ResourceVersion", document::resource_version(&binding), document::resource_version(old)),
        ] {
            if !wanted.is_empty() && wanted != have {
                return Err(call.precondition_failed(what, wanted, have));
            }
        }
        let mut pod = old.clone();
        pod::bind(&mut pod, &binding, call.now)?;
        Ok(pod)
    };
    call.server.update(call, Part::Internal, &change).await?;
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(response::value(201, &done, wanted_without_table(incoming)?))
}
