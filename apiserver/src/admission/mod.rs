//! PLUGINS: built-in admission, in upstream's order. Each plugin may change the object (`mutate`) and refuse the
//! request (`validate`); both run inside the registry's loop, so that they see what is committed. One more may write
//! something itself just before the object is (`charge`).

mod certificates;
mod claim_resize;
mod default_class;
mod default_tolerations;
mod device_admin;
mod limit_ranger;
mod namespace_lifecycle;
mod pod_resize;
pub mod pod_topology_labels;
mod priority;
pub mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taint_nodes;

use crate::registry::Call;
use api::Value;
use api::document;
use api::status::ApiError;
use futures::future::BoxFuture;

/// What a request does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// May change the object that is about to be written.
type Mutate = fn(&Call<'_>, Operation, &mut Value) -> Result<(), ApiError>;
/// May refuse the request, from the new object and the old one.
type Validate = fn(&Call<'_>, Operation, Option<&Value>, Option<&Value>) -> Result<(), ApiError>;

/// May write what the write of an object takes, once nothing else can refuse it; from the new object and the old one.
type Charge = for<'a> fn(&'a Call<'_>, &'a Value, Option<&'a Value>) -> BoxFuture<'a, Result<(), ApiError>>;

/// An admission plugin, as plain functions; the defaults let everything pass unchanged.
struct Plugin {
    name: &'static str,
    mutate: Mutate,
    validate: Validate,
    charge: Option<Charge>,
}

const PASS: Plugin = Plugin { name: "", mutate: |_, _, _| Ok(()), validate: |_, _, _, _| Ok(()), charge: None };

static PLUGINS: &[Plugin] = &[
    Plugin {
        name: "NamespaceLifecycle",
        mutate: namespace_lifecycle::mutate,
        validate: namespace_lifecycle::validate,
        ..PASS
    },
    Plugin { name: "LimitRanger", mutate: limit_ranger::mutate, validate: limit_ranger::validate, ..PASS },
    Plugin { name: "ServiceAccount", mutate: service_account::mutate, ..PASS },
    Plugin { name: "TaintNodesByCondition", mutate: taint_nodes::mutate, ..PASS },
    Plugin { name: "Priority", mutate: priority::mutate, validate: priority::validate, ..PASS },
    Plugin { name: "DefaultTolerationSeconds", mutate: default_tolerations::mutate, ..PASS },
    Plugin { name: "DefaultStorageClass", mutate: default_class::of_claim, ..PASS },
    Plugin { name: "StorageObjectInUseProtection", mutate: storage_protection::mutate, ..PASS },
    Plugin { name: "RuntimeClass", mutate: runtime_class::mutate, validate: runtime_class::validate, ..PASS },
    Plugin { name: "PersistentVolumeClaimResize", validate: claim_resize::validate, ..PASS },
    Plugin { name: "CertificateApproval", validate: certificates::approval, ..PASS },
    Plugin { name: "CertificateSigning", validate: certificates::signing, ..PASS },
    Plugin { name: "CertificateSubjectRestriction", validate: certificates::subject, ..PASS },
    Plugin { name: "DefaultIngressClass", mutate: default_class::of_ingress, ..PASS },
    Plugin { name: "PodTopologyLabels", mutate: pod_topology_labels::mutate, ..PASS },
    Plugin { name: "PodResizeValidator", validate: pod_resize::validate, ..PASS },
    Plugin { name: "DeviceAdminAccess", validate: device_admin::validate, ..PASS },
    Plugin { name: "ResourceQuota", validate: resource_quota::validate, charge: Some(resource_quota::charge), ..PASS },
];

/// Lets each plugin change the object that is about to be written.
pub async fn mutate(call: &Call<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), ApiError> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    if operation == Operation::Create {
        service_account::wait_for_default(call, object).await;
    }
    for plugin in PLUGINS {
        (plugin.mutate)(call, operation, object).inspect_err(|failure| refused(plugin, call, failure))?;
    }
    Ok(())
}

/// Lets each plugin refuse the request. A deletion has no new object, a creation no old one.
pub fn validate(call: &Call<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<(), ApiError> {
    let operation = match (object, old) {
        (Some(_), None) => Operation::Create,
        (None, _) => Operation::Delete,
        (Some(_), Some(_)) => Operation::Update,
    };
    for plugin in PLUGINS {
        (plugin.validate)(call, operation, object, old).inspect_err(|failure| refused(plugin, call, failure))?;
    }
    Ok(())
}

/// Lets each plugin write what this write takes. Nothing but the object's own commit comes after it.
pub async fn charge(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    for plugin in PLUGINS {
        if let Some(charge) = plugin.charge {
            charge(call, object, old).await.inspect_err(|failure| refused(plugin, call, failure))?;
        }
    }
    Ok(())
}

/// The object's name, or what it will be generated from: upstream makes the name of a new object after this.
fn name_of(object: &Value) -> &str {
    match (document::name(object), document::get_str(object, "metadata.generateName")) {
        ("", "") => "Unknown",
        ("", prefix) => prefix,
        (name, _) => name,
    }
}

fn refused(plugin: &Plugin, call: &Call<'_>, failure: &ApiError) {
    tracing::debug!(plugin = plugin.name, resource = call.resource.kind.resource, %failure, "admission refused");
}
