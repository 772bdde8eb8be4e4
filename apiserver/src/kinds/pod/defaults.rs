//! Defaults of pods and of templates of pods.

use super::super::path::{child, has, list, text};
use super::resources::is_overcommit_allowed;
use super::volumes::is_untyped;
use api::document::{as_map, child as child_map};
use api::quantity::Quantity;
use api::resource_list::{is_huge_page, is_pod_level, of_containers, quantity};
use api::{Map, Value};
use serde_json::json;

/// Sets `key` where it is missing, null or the type's zero value that upstream takes for missing.
pub fn default(object: &mut Value, key: &str, value: impl Into<Value>) {
    let unset = match object.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        as_map(object).insert(key.to_owned(), value.into());
    }
}

/// Like [`default`], for numbers where zero means missing.
fn default_number(object: &mut Value, key: &str, value: i64) {
    if object.get(key).and_then(Value::as_i64).unwrap_or_default() == 0 {
        as_map(object).insert(key.to_owned(), value.into());
    }
}

fn list_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A field that is an object, when it is there.
fn object_mut<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|value| value.is_object())
}

/// Defaults of a pod: those of its specification, and those that templates leave open.
pub fn default_pod(pod: &mut Value) {
    let spec = child_of(pod, "spec");
    default_spec(spec);
    for key in ["containers", "initContainers"] {
        for container in list_mut(spec, key) {
            requests_from_limits(container);
        }
    }
    default_pod_level(spec);
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        as_map(spec).insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    default(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for key in ["containers", "initContainers"] {
            for port in list_mut(spec, key).flat_map(|container| list_mut(container, "ports")) {
                let number = port.get("containerPort").and_then(Value::as_i64).unwrap_or_default();
                default_number(port, "hostPort", number);
            }
        }
    }
    drop_init_annotations(pod);
    if let Some(status) = object_mut(pod, "status") {
        agree_on_address(status);
    }
}

/// Before v1.6 these annotations held init containers; whoever still sends them gets no other pod by that.
fn drop_init_annotations(object: &mut Value) {
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| {
            let name = key.strip_prefix("pod.beta.kubernetes.io/").or(key.strip_prefix("pod.alpha.kubernetes.io/"));
            !matches!(name, Some("init-containers" | "init-container-statuses"))
        });
    }
}

/// The first of a pod's addresses stands in a field of its own, too. Where they differ that field counts.
fn agree_on_address(status: &mut Value) {
    let one = text(status, "podIP");
    let first = list(status, "podIPs").first().map(|ip| text(ip, "ip").to_owned());
    match first {
        Some(first) if one.is_empty() => drop(as_map(status).insert("podIP".to_owned(), first.into())),
        first if !one.is_empty() && first.as_deref() != Some(one) => {
            let all = json!([{"ip": one}]);
            as_map(status).insert("podIPs".to_owned(), all);
        }
        _ => {}
    }
}

/// Defaults of a `PodTemplateSpec`.
pub fn default_template(template: &mut Value) {
    drop_init_annotations(template);
    default_spec(child_of(template, "spec"));
}

fn child_of<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    let slot = as_map(object).entry(key).or_insert(Value::Null);
    as_map(slot);
    slot
}

fn default_spec(spec: &mut Value) {
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        list_mut(spec, key).for_each(default_container);
    }
    list_mut(spec, "volumes").for_each(default_volume);
    if let Some(overhead) = object_mut(spec, "overhead") {
        round_up(overhead);
    }
    if let Some(resources) = object_mut(spec, "resources") {
        round_up_resources(resources);
    }
    // The account's old name is kept in step with the new one.
    let account = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    };
    if !account.is_empty() {
        let account = Value::from(account);
        as_map(spec).insert("serviceAccountName".to_owned(), account.clone());
        as_map(spec).insert("serviceAccount".to_owned(), account);
    }
}

fn default_container(container: &mut Value) {
    let pull = pull_policy(text(container, "image"));
    default(container, "imagePullPolicy", pull);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    if let Some(resources) = object_mut(container, "resources") {
        round_up_resources(resources);
    }
    for port in list_mut(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = object_mut(container, key) else { continue };
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            default_number(probe, key, value);
        }
        default_handler(probe);
        if let Some(grpc) = object_mut(probe, "grpc") {
            default(grpc, "service", "");
        }
    }
    if let Some(lifecycle) = object_mut(container, "lifecycle") {
        for key in ["postStart", "preStop"] {
            if let Some(handler) = object_mut(lifecycle, key) {
                default_handler(handler);
            }
        }
    }
    for source in list_mut(container, "env").filter_map(|variable| object_mut(variable, "valueFrom")) {
        default_references(source);
        if let Some(file) = object_mut(source, "fileKeyRef") {
            default(file, "optional", false);
        }
    }
}

fn default_handler(handler: &mut Value) {
    if let Some(http) = object_mut(handler, "httpGet") {
        default(http, "path", "/");
        default(http, "scheme", "HTTP");
    }
}

/// References to fields of the pod, in variables and in files.
fn default_references(source: &mut Value) {
    if let Some(field) = object_mut(source, "fieldRef") {
        default(field, "apiVersion", "v1");
    }
    if let Some(resource) = object_mut(source, "resourceFieldRef") {
        // The unit is a plain struct upstream: it is written even when it says nothing.
        default(resource, "divisor", "0");
    }
}

fn default_volume(volume: &mut Value) {
    if is_untyped(volume) {
        as_map(volume).insert("emptyDir".to_owned(), json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = object_mut(volume, key) {
            default(source, "defaultMode", 0o644);
        }
    }
    if let Some(source) = object_mut(volume, "downwardAPI") {
        list_mut(source, "items").for_each(default_references);
    }
    if let Some(source) = object_mut(volume, "projected").filter(|source| list(source, "sources").is_empty()) {
        as_map(source).insert("sources".to_owned(), Value::Null);
    }
    for source in object_mut(volume, "projected").into_iter().flat_map(|source| list_mut(source, "sources")) {
        if let Some(token) = object_mut(source, "serviceAccountToken") {
            default(token, "expirationSeconds", 3600);
        }
        if let Some(source) = object_mut(source, "downwardAPI") {
            list_mut(source, "items").for_each(default_references);
        }
    }
    default_volume_source(volume);
}

fn default_volume_source(volume: &mut Value) {
    if let Some(source) = object_mut(volume, "hostPath") {
        default(source, "type", "");
    }
    if let Some(source) = object_mut(volume, "image") {
        let pull = pull_policy(text(source, "reference"));
        default(source, "pullPolicy", pull);
    }
    if let Some(template) = object_mut(volume, "ephemeral").and_then(|source| object_mut(source, "volumeClaimTemplate"))
    {
        default_claim(template);
    }
    type Defaults = &'static [(&'static str, &'static str)];
    const SOURCES: [(&str, Defaults); 4] = [
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (key, defaults) in SOURCES {
        let Some(source) = object_mut(volume, key) else { continue };
        for (key, value) in defaults {
            default(source, key, *value);
        }
        if key == "azureDisk" {
            default(source, "readOnly", false);
        }
    }
}

/// Defaults of a claim's specification, in a template.
pub fn default_claim(claim: &mut Value) {
    let spec = child_of(claim, "spec");
    if !has(spec, "volumeMode") {
        as_map(spec).insert("volumeMode".to_owned(), "Filesystem".into());
    }
    if let Some(resources) = object_mut(spec, "resources") {
        round_up_resources(resources);
    }
}

/// `Always` for the moving tag `latest`, said or implied; else `IfNotPresent`, also for what is no reference to an image.
fn pull_policy(image: &str) -> &'static str {
    let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    let segment = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[segment..].split_once(':') {
        Some((last, tag)) => (&named[..segment + last.len()], Some(tag)),
        None => (named, None),
    };
    match (tag, digest) {
        _ if !is_image_name(name) || !digest.is_none_or(is_digest) => "IfNotPresent",
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

/// Whether it is the name of a repository of images, with or without its host: the grammar of
/// `github.com/distribution/reference`.
fn is_image_name(name: &str) -> bool {
    const MAX: usize = 255;
    let is_domain = |first: &str| first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first;
    let (domain, path) = match name.split_once('/').filter(|(first, _)| is_domain(first)) {
        Some((domain, path)) => (Some(domain), path),
        None => (None, name),
    };
    let is_digest = path.len() == 64 && path.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    // One word alone is in the repositories of the library.
    let implied = if domain.is_none() && !path.contains('/') { "library/".len() } else { 0 };
    !is_digest
        && path.len() + implied <= MAX
        && domain.is_none_or(is_image_domain)
        && path.split('/').all(is_image_part)
}

/// `sha256:` and as many hexadecimal digits as it takes.
fn is_digest(digest: &str) -> bool {
    let length = |algorithm| match algorithm {
        "sha256" => Some(64),
        "sha384" => Some(96),
        "sha512" => Some(128),
        _ => None,
    };
    digest.split_once(':').is_some_and(|(algorithm, digits)| {
        length(algorithm) == Some(digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// A host with or without a port.
fn is_image_domain(domain: &str) -> bool {
    let is_address = |host: &str| host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, rest)) = domain.strip_prefix('[').and_then(|domain| domain.split_once(']')) {
        return is_address(address) && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Lower-case letters and digits, in which single dots, one or two underscores and any dashes stand.
fn is_image_part(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let edges = part.starts_with(alphanumeric) && part.ends_with(alphanumeric);
    edges
        && part
            .split(alphanumeric)
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

/// Rounds the quantities at each of `keys` that are finer than a thousandth up to it.
pub fn round_up_at(object: &mut Value, keys: &[&str]) {
    for key in keys {
        if let Some(list) = object_mut(object, key) {
            round_up(list);
        }
    }
}

/// Rounds quantities that are finer than a thousandth up to it.
fn round_up(resources: &mut Value) {
    for value in resources.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(fine) = quantity(value).filter(|parsed| parsed.nanos() % 1_000_000 != 0) {
            *value = Quantity::from_millis(fine.millis()).to_string().into();
        }
    }
}

fn round_up_resources(resources: &mut Value) {
    round_up_at(resources, &["limits", "requests"]);
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = object_mut(container, "resources").and_then(Value::as_object_mut) else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = child_map(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// The pod's own resources (KEP-2837): huge pages from the containers' limits, requests from what the containers
/// request and else from the limits.
fn default_pod_level(spec: &mut Value) {
    let Some(resources) = child(spec, "resources") else { return };
    let names = |key| entries_of(resources, key);
    let (mut limits, mut requests) = (names("limits"), names("requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, value) in of_containers(spec, "limits").into_iter().filter(|(name, _)| is_huge_page(name)) {
        if !requests.contains_key(&name) && !limits.contains_key(&name) {
            limits.insert(name, value.to_string().into());
        }
    }
    if !limits.is_empty() {
        for (name, value) in of_containers(spec, "requests") {
            if is_pod_level(&name) && is_overcommit_allowed(&name) && !requests.contains_key(&name) {
                requests.insert(name, value.to_string().into());
            }
        }
        for (name, value) in limits.iter().filter(|(name, _)| is_pod_level(name)) {
            requests.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    for (key, values) in [("limits", limits), ("requests", requests)] {
        if !values.is_empty() {
            child_map(child_map(as_map(spec), "resources"), key).extend(values);
        }
    }
}

fn entries_of(resources: &Value, key: &str) -> Map {
    child(resources, key).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Drops the fields of features that are off by default in this version, where the old object has not got them.
pub fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    if !old.is_some_and(|old| has(old, "schedulingGroup")) {
        as_map(spec).remove("schedulingGroup");
    }
    let signals = old.is_some_and(|old| {
        ["containers", "initContainers"]
            .iter()
            .flat_map(|key| list(old, key))
            .any(|container| child(container, "lifecycle").is_some_and(|lifecycle| has(lifecycle, "stopSignal")))
    });
    if !signals {
        for key in ["containers", "initContainers", "ephemeralContainers"] {
            for container in list_mut(spec, key) {
                let Some(lifecycle) = object_mut(container, "lifecycle").map(as_map) else { continue };
                if lifecycle.remove("stopSignal").is_some_and(|signal| !signal.is_null()) && lifecycle.is_empty() {
                    as_map(container).remove("lifecycle");
                }
            }
        }
    }
    for key in ["clusterTrustBundle", "podCertificate"] {
        let used = old.is_some_and(|old| {
            list(old, "volumes")
                .iter()
                .filter_map(|volume| child(volume, "projected"))
                .any(|source| list(source, "sources").iter().any(|source| has(source, key)))
        });
        if !used {
            for volume in list_mut(spec, "volumes").filter_map(|volume| object_mut(volume, "projected")) {
                for source in list_mut(volume, "sources") {
                    as_map(source).remove(key);
                }
            }
        }
    }
}
