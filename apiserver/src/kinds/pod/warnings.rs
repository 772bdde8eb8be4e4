//! Warnings about pods and templates of pods: valid, but hardly meant so.

use super::super::path::{Path, child, descend, entries, has, int, list, text};
use super::annotations::{APP_ARMOR, app_armor_field};
use super::containers::visit;
use super::resources::quantity;
use api::{Value, names};
use std::collections::{BTreeMap, HashMap, HashSet};

const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// A warning about a name that becomes part of host names but is no DNS label.
pub fn dns_label_warning(name: &str) -> Option<String> {
    let problems = names::dns1123_label(name);
    (!problems.is_empty()).then(|| {
        let problems = problems.join(" ");
        format!("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{problems}]")
    })
}

/// Why a node's label should not be used any more.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, message)| *message)
}

/// Warnings about a pod (with an empty path) or a template of pods at `path`.
pub fn template_warnings(path: &Path, template: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let null = Value::Null;
    let spec = child(template, "spec").unwrap_or(&null);
    let annotations = descend(template, &["metadata", "annotations"]).unwrap_or(&null);
    let annotation_path = path.at("metadata.annotations");
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| has(annotations, key)) {
        warnings.push(format!("{}: {message}", annotation_path.key(key)));
    }
    let is_template = !path.to_string().is_empty();
    let path = path.at("spec");
    scheduling(spec, &path, &mut warnings);
    volumes(spec, &path, &mut warnings);
    duplicates(spec, &path, &mut warnings);
    fractions(spec, "overhead", &path, &mut warnings);
    let profile = |context: Option<&Value>, key: &str| context.is_some_and(|context| has(context, key));
    let seccomp = |key: &str| {
        format!("{}: non-functional in v1.27+; use the \"seccompProfile\" field instead", annotation_path.key(key))
    };
    let context = child(spec, "securityContext");
    if !profile(context, "seccompProfile") && has(annotations, SECCOMP_POD) {
        warnings.push(seccomp(SECCOMP_POD));
    }
    let pod_profile = context.and_then(|context| child(context, "appArmorProfile"));
    visit(spec, &path, |container, path| {
        let (name, context) = (text(container, "name"), child(container, "securityContext"));
        let key = format!("{SECCOMP_CONTAINER}{name}");
        if !profile(context, "seccompProfile") && has(annotations, &key) {
            warnings.push(seccomp(&key));
        }
        let key = format!("{APP_ARMOR}{name}");
        if let Some(annotation) = child(annotations, &key).and_then(Value::as_str)
            && !profile(context, "appArmorProfile")
            && (!is_template || pod_profile.is_none() || pod_profile != app_armor_field(annotation).as_ref())
        {
            let place = annotation_path.key(&key);
            warnings.push(format!("{place}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
        }
        if let Some(resources) = child(container, "resources") {
            let path = path.at("resources");
            fractions(resources, "limits", &path, &mut warnings);
            fractions(resources, "requests", &path, &mut warnings);
        }
        variables(container, path, &mut warnings);
    });
    ports(spec, &path, &mut warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let place = path.at("terminationGracePeriodSeconds");
        warnings.push(format!("{place}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    warnings
}

fn scheduling(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let at = path.at("nodeSelector");
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {message}", at.key(key)));
        }
    }
    let at = path.at("topologySpreadConstraints");
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (at, key) = (at.index(i), text(constraint, "topologyKey"));
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", at.at("topologyKey")));
        }
        null_selector(constraint, &at, warnings);
    }
    let Some(affinity) = child(spec, "affinity") else { return };
    let path = path.at("affinity");
    if let Some(node) = child(affinity, "nodeAffinity") {
        let path = path.at("nodeAffinity");
        let required = path.at(REQUIRED);
        let required = required.at("nodeSelectorTerms");
        for (i, term) in
            child(node, REQUIRED).map(|r| list(r, "nodeSelectorTerms")).unwrap_or_default().iter().enumerate()
        {
            node_term(term, &required.index(i), warnings);
        }
        let preferred = path.at(PREFERRED);
        for (i, term) in list(node, PREFERRED).iter().enumerate() {
            if let Some(preference) = child(term, "preference") {
                node_term(preference, &preferred.index(i).at("preference"), warnings);
            }
        }
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = child(affinity, key) else { continue };
        let path = path.at(key);
        let required = path.at(REQUIRED);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            null_selector(term, &required.index(i), warnings);
        }
        let preferred = path.at(PREFERRED);
        for (i, weighted) in list(pods, PREFERRED).iter().enumerate() {
            if let Some(term) = child(weighted, "podAffinityTerm") {
                null_selector(term, &preferred.index(i).at("podAffinityTerm"), warnings);
            }
        }
    }
}

fn null_selector(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    if !has(term, "labelSelector") {
        let place = path.at("labelSelector");
        warnings.push(format!("{place}: a null labelSelector results in matching no pod"));
    }
}

fn node_term(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("matchExpressions");
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let key = text(requirement, "key");
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.index(i).at("key")));
        }
    }
}

fn volumes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("volumes");
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        for (_, shown, message) in VOLUMES.iter().filter(|(key, ..)| has(volume, key)) {
            warnings.push(format!("{}: {message}", path.index(i).at(shown)));
        }
        overlaps(volume, warnings);
    }
}

/// Files of a volume that hide each other.
fn overlaps(volume: &Value, warnings: &mut Vec<String>) {
    let name = text(volume, "name");
    let files = |source: &Value| -> Vec<(String, String)> {
        list(source, "items").iter().map(|item| (text(item, "path").to_owned(), String::new())).collect()
    };
    for (key, kind, of) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
        if let Some(source) = child(volume, key) {
            let shown = format!("{kind} \"{}\"", text(source, of));
            overlapping(name, &shown, files(source), warnings);
        }
    }
    if let Some(source) = child(volume, "downwardAPI") {
        overlapping(name, "DownwardAPI", files(source), warnings);
    }
    let Some(projected) = child(volume, "projected") else { return };
    let mut all = Vec::new();
    for source in list(projected, "sources") {
        let mut from = |key: &str, shown: String| {
            if let Some(source) = child(source, key) {
                all.extend(files(source).into_iter().map(|(path, _)| (path, shown.clone())));
            }
        };
        for (key, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
            let of = child(source, key).map(|source| text(source, "name")).unwrap_or_default();
            from(key, format!("{kind} \"{of}\""));
        }
        from("downwardAPI", "DownwardAPI".to_owned());
        if let Some(token) = child(source, "serviceAccountToken") {
            all.push((text(token, "path").to_owned(), "ServiceAccountToken".to_owned()));
        }
        if source.as_object().is_some_and(|source| source.is_empty()) {
            warnings.push(format!("volume \"{name}\" (Projected) has no sources provided"));
        }
    }
    overlapping(name, "Projected", all, warnings);
}

/// So many ports of one number are compared with the next ones.
const MAX_SAME_PORTS: usize = 8;
/// Above this many files of a volume nobody compares all with all.
const MAX_COMPARED: usize = 256;

fn overlapping(volume: &str, kind: &str, files: Vec<(String, String)>, warnings: &mut Vec<String>) {
    let shown = |(path, source): &(String, String)| match source.as_str() {
        "" => format!("\"{path}\""),
        source => format!("\"{path}\" ({source})"),
    };
    let files: Vec<(String, String)> = files
        .into_iter()
        .take(MAX_COMPARED)
        .map(|(path, source)| (path.trim_end_matches('/').to_owned(), source))
        .collect();
    for (i, file) in files.iter().enumerate().filter(|(_, file)| !file.0.is_empty()) {
        for other in files[..i].iter().filter(|other| !other.0.is_empty()) {
            let (a, b) = (format!("{}/", file.0), format!("{}/", other.0));
            if a.starts_with(&b) || b.starts_with(&a) {
                warnings.push(format!(
                    "volume \"{volume}\" ({kind}): overlapping paths: {} with {}",
                    shown(file),
                    shown(other)
                ));
            }
        }
    }
}

fn duplicates(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (key, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let path = path.at(key);
        let mut seen = HashSet::new();
        for (i, item) in list(spec, key).iter().enumerate() {
            let value = text(item, field);
            if !seen.insert(value) {
                warnings.push(format!("{}: duplicate {field} \"{value}\"", path.index(i).at(field)));
            }
        }
    }
    let path = path.at("imagePullSecrets");
    for (i, _) in list(spec, "imagePullSecrets").iter().enumerate().filter(|(_, item)| text(item, "name").is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", path.index(i).at("name")));
    }
}

/// Bytes come whole.
fn fractions(object: &Value, key: &str, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at(key);
    for (name, value) in entries(object, key).filter(|(name, _)| matches!(*name, "memory" | "ephemeral-storage")) {
        if let Some(value) = quantity(value).filter(|value| value.millis() % 1000 != 0) {
            let place = path.key(name);
            warnings.push(format!("{place}: fractional byte value \"{value}\" is invalid, must be an integer"));
        }
    }
}

fn variables(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("env");
    let mut seen = HashSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let reference = || format!("$({name})");
        if !seen.insert(name) && (has(variable, "valueFrom") || value == reference() || !value.contains(&reference())) {
            let place = path.index(i);
            warnings.push(format!(
                "{place}: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
    }
}

/// A port that was seen before: where, and what it takes of the node.
struct KnownPort<'a> {
    place: String,
    ip: &'a str,
    host: i64,
}

fn ports(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut by_port: HashMap<(i64, &str), Vec<KnownPort>> = HashMap::new();
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    let mut name_warnings = Vec::new();
    visit(spec, path, |container, path| {
        let path = path.at("ports");
        for (i, port) in list(container, "ports").iter().enumerate() {
            let place = path.index(i).to_string();
            let (ip, host) = (text(port, "hostIP"), int(port, "hostPort").unwrap_or_default());
            if !ip.is_empty() && host == 0 {
                warnings.push(format!("{place}: hostIP set without hostPort: {port}"));
            }
            let number = int(port, "containerPort").unwrap_or_default();
            let others = by_port.entry((number, text(port, "protocol"))).or_default();
            for other in others.iter() {
                let problem = if ip == other.ip && host == other.host {
                    "duplicate"
                } else if host == 0 || other.host == 0 {
                    "overlapping"
                } else if host == other.host && (ip.is_empty() != other.ip.is_empty()) {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{place}: {problem} port definition with {}", other.place));
            }
            if others.len() < MAX_SAME_PORTS {
                others.push(KnownPort { place: place.clone(), ip, host });
            }
            let name = text(port, "name");
            if !name.is_empty() {
                match by_name.get(name) {
                    Some(other) => name_warnings.push(format!("{place}: duplicate port name \"{name}\" with {other}, services and probes that select ports by name will use {other}")),
                    None => drop(by_name.insert(name, place)),
                }
            }
        }
    });
    warnings.append(&mut name_warnings);
}
