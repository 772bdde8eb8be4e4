//! ServiceAccount: a pod runs as an account that exists, and finds its token, the cluster's CA and its namespace mounted.
//!
//! Follows `plugin/pkg/admission/serviceaccount`.

use super::{Operation, name_of};
use crate::registry::Call;
use crate::resources;
use api::Value;
use api::document;
use api::status::ApiError;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use storage::Entry;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// One hour, and seven seconds by which kubelets tell a default expiry from one that was asked for.
const TOKEN_SECONDS: i64 = 3607;
/// How long the creation of a pod waits for the `default` account of a namespace that is new.
const WAIT: Duration = Duration::from_secs(1);

fn applies(call: &Call<'_>) -> bool {
    call.resource.kind.kind == "Pod" && call.subresource.is_empty()
}

fn account_name(pod: &Value) -> &str {
    match document::get_str(pod, "spec.serviceAccountName") {
        "" => "default",
        name => name,
    }
}

fn stored(call: &Call<'_>, name: &str) -> Result<Option<Arc<Entry>>, ApiError> {
    let key = resources::builtin("", "serviceaccounts").key(call.namespace, name);
    call.server.store.get(&key).map_err(|e| call.server.store_error(e))
}

fn account(call: &Call<'_>, name: &str) -> Result<Option<Value>, ApiError> {
    let accounts = resources::builtin("", "serviceaccounts");
    stored(call, name)?.map(|entry| accounts.read_unmanaged(&entry.value)).transpose()
}

/// Gives the service account controller a moment: a pod may be created right after its namespace.
pub async fn wait_for_default(call: &Call<'_>, pod: &Value) {
    if !applies(call) || account_name(pod) != "default" || !matches!(stored(call, "default"), Ok(None)) {
        return;
    }
    let accounts = resources::builtin("", "serviceaccounts");
    let Ok(mut events) = call.server.store.watch(&accounts.scope(call.namespace), call.server.store.revision()) else {
        return;
    };
    let arrival = async { while matches!(stored(call, "default"), Ok(None)) && events.next().await.is_ok() {} };
    let _ = tokio::time::timeout(WAIT, arrival).await;
}

pub fn mutate(call: &Call<'_>, operation: Operation, pod: &mut Value) -> Result<(), ApiError> {
    if operation != Operation::Create || !applies(call) {
        return Ok(());
    }
    if document::annotation(pod, MIRROR).is_some() {
        return refuse_mirror_with_account(pod);
    }
    let name = account_name(pod).to_owned();
    let Some(account) = account(call, &name)? else {
        let (namespace, quoted) = (call.namespace, api::field::quote(&name));
        let problems = api::names::path_segment(&name);
        let problem = match problems.is_empty() {
            true => format!("serviceaccount {quoted} not found"),
            false => format!("invalid resource name {quoted}: [{}]", problems.join(" ")),
        };
        let why = format!("error looking up service account {namespace}/{name}: {problem}");
        return Err(ApiError::forbidden("", "pods", name_of(pod), why));
    };
    document::set(pod, "spec.serviceAccountName", name.as_str());
    document::set(pod, "spec.serviceAccount", name.as_str());
    if mounts_token(pod, &account) {
        mount_token(pod);
    }
    if document::get_list(pod, "spec.imagePullSecrets").is_empty()
        && let Some(secrets) = document::get(&account, "imagePullSecrets")
    {
        document::set(pod, "spec.imagePullSecrets", secrets.clone());
    }
    Ok(())
}

fn refuse_mirror_with_account(pod: &Value) -> Result<(), ApiError> {
    let forbidden = |why: &str| Err(ApiError::forbidden("", "pods", name_of(pod), why));
    if !document::get_str(pod, "spec.serviceAccountName").is_empty() {
        return forbidden("a mirror pod may not reference service accounts");
    }
    Ok(())
}

fn mounts_token(pod: &Value, account: &Value) -> bool {
    let asked = document::get(pod, "spec.automountServiceAccountToken").and_then(Value::as_bool);
    let allowed = document::get(account, "automountServiceAccountToken").and_then(Value::as_bool);
    asked.or(allowed).unwrap_or(true)
}

/// Mounts the token into each container that has nothing at its path yet.
fn mount_token(pod: &mut Value) {
    let existing = document::get_list(pod, "spec.volumes")
        .iter()
        .map(|volume| document::get_str(volume, "name"))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", crate::registry::meta::random_suffix()));
    let mut mounted = false;
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)) else { continue };
        for container in containers {
            let mut mounts = document::get_list(container, "volumeMounts").to_vec();
            if mounts.iter().any(|mount| document::get_str(mount, "mountPath") == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
            document::set(container, "volumeMounts", mounts);
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        let mut volumes = document::get_list(pod, "spec.volumes").to_vec();
        volumes.push(token_volume(&name));
        document::set(pod, "spec.volumes", volumes);
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": TOKEN_SECONDS } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{
                    "path": "namespace",
                    "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                }] } },
            ],
        },
    })
}
