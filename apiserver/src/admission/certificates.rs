//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may decide about a certificate signing
//! request is a right on its signer, and nobody becomes a superuser by certificate.
//!
//! Follows `plugin/pkg/admission/certificates`.

use super::Operation;
use crate::authz::{Attributes, SUPERUSERS};
use crate::kinds::certificate_signing_request::organizations;
use crate::registry::Call;
use api::Value;
use api::document;
use api::status::ApiError;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn concerns(call: &Call<'_>, subresource: &str) -> bool {
    call.resource.kind.resource == "certificatesigningrequests" && call.subresource == subresource
}

/// Checks approvals and denials.
pub fn approval(call: &Call<'_>, _: Operation, _: Option<&Value>, old: Option<&Value>) -> Result<(), ApiError> {
    match old {
        Some(old) if concerns(call, "approval") => may(call, old, "approve"),
        _ => Ok(()),
    }
}

/// Checks who writes certificates and conditions.
pub fn signing(call: &Call<'_>, _: Operation, object: Option<&Value>, old: Option<&Value>) -> Result<(), ApiError> {
    let (Some(object), Some(old)) = (object, old) else { return Ok(()) };
    let same = |path| document::get(object, path) == document::get(old, path);
    if !concerns(call, "status") || (same("status.certificate") && same("status.conditions")) {
        return Ok(());
    }
    may(call, old, "sign")
}

/// The right to do this to requests for the signer, or for all signers of its domain.
fn may(call: &Call<'_>, request: &Value, verb: &str) -> Result<(), ApiError> {
    let signer = document::get_str(request, "spec.signerName");
    let whole_domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let allowed = [signer, &whole_domain].iter().any(|name| {
        let attributes = Attributes {
            user: call.user,
            verb,
            namespace: "",
            group: GROUP,
            version: "*",
            resource: "signers",
            subresource: "",
            name,
            path: "",
        };
        call.server.authorizer.authorize(&attributes).is_allowed()
    });
    if allowed {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {}", api::field::quote(signer));
    Err(refused(call, request, why))
}

/// Refuses requests for certificates of superusers.
pub fn subject(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    _: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(request) = object.filter(|_| operation == Operation::Create && concerns(call, "")) else { return Ok(()) };
    if document::get_str(request, "spec.signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let groups = organizations(document::get_str(request, "spec.request"))
        .map_err(|why| refused(call, request, format!("failed to parse CSR: {why}")))?;
    if groups.iter().any(|group| group == SUPERUSERS) {
        let why = format!("use of {CLIENT_SIGNER} signer with {SUPERUSERS} group is not allowed");
        return Err(refused(call, request, why));
    }
    Ok(())
}

fn refused(call: &Call<'_>, request: &Value, why: String) -> ApiError {
    ApiError::forbidden(GROUP, call.resource.kind.resource, document::name(request), why)
}
