//! Warnings about pods and templates of pods: valid, but hardly meant so.

use super::super::ip::ip_warning;
use super::super::path::{Path, child, descend, entries, has, int, list, text, texts};
use super::annotations::{APP_ARMOR, app_armor_field};
use super::containers::visit;
use api::resource_list::quantity;
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
/// Volume types that are going or gone, in the order in which they are looked for; the message's name of the field.
const VOLUMES: [(&str, &str, &str); 10] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    // Not deprecated itself: what its claim asks for is looked at.
    ("ephemeral", "ephemeral", ""),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
/// Resources that come in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
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
    let is_template = !path.to_string().is_empty();
    let path = path.at("spec");
    scheduling(spec, &path, &mut warnings);
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| has(annotations, key)) {
        warnings.push(format!("{}: {message}", annotation_path.key(key)));
    }
    volumes(spec, &path, &mut warnings);
    duplicates(spec, &path, &mut warnings);
    if let Some(overhead) = child(spec, "overhead") {
        let path = path.at("overhead");
        BYTES.iter().for_each(|name| fraction(overhead, name, &path, &mut warnings));
    }
    let context = child(spec, "securityContext");
    if context.is_none_or(|context| !has(context, "seccompProfile")) && has(annotations, SECCOMP_POD) {
        warnings.push(seccomp(&annotation_path.key(SECCOMP_POD)));
    }
    let pod_profile = context.and_then(|context| child(context, "appArmorProfile"));
    visit(spec, &path, |container, path| {
        let (name, context) = (text(container, "name"), child(container, "securityContext"));
        let key = format!("{SECCOMP_CONTAINER}{name}");
        if context.is_none_or(|context| !has(context, "seccompProfile")) && has(annotations, &key) {
            warnings.push(seccomp(&annotation_path.key(&key)));
        }
        if is_template {
            warnings.extend(app_armor(container, annotations, pod_profile, &annotation_path, false));
        }
        for (name, key) in BYTES.iter().flat_map(|name| [(name, "limits"), (name, "requests")]) {
            if let Some(amounts) = descend(container, &["resources", key]) {
                fraction(amounts, name, &path.at("resources").at(key), &mut warnings);
            }
        }
        variables(container, path, &mut warnings);
    });
    ports(spec, &path, &mut warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let place = path.at("terminationGracePeriodSeconds");
        warnings.push(format!("{place}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(spec, &path, &mut warnings);
    addresses(spec, &path, &mut warnings);
    warnings
}

fn seccomp(place: &Path) -> String {
    format!("{place}: non-functional in v1.27+; use the \"seccompProfile\" field instead")
}

/// A container whose AppArmor profile is an annotation. Of a pod's it is warned when the annotation says something that the
/// pod's profile does not, or nothing (`or_invalid`) that can be understood.
fn app_armor(
    container: &Value,
    annotations: &Value,
    pod_profile: Option<&Value>,
    path: &Path,
    of_pod: bool,
) -> Option<String> {
    let key = format!("{APP_ARMOR}{}", text(container, "name"));
    let annotation = child(annotations, &key)?.as_str()?;
    let meant = app_armor_field(annotation);
    let differs = if of_pod { meant.is_none() } else { pod_profile.is_none() } || pod_profile != meant.as_ref();
    let warns = differs && descend(container, &["securityContext", "appArmorProfile"]).is_none();
    warns.then(|| format!("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead", path.key(&key)))
}

/// Warnings about a pod as the client sent it: its annotations become fields afterwards.
pub fn given_warnings(pod: &Value) -> Vec<String> {
    let null = Value::Null;
    let spec = child(pod, "spec").unwrap_or(&null);
    if descend(spec, &["os", "name"]).and_then(Value::as_str) == Some("windows") {
        return Vec::new();
    }
    let annotations = descend(pod, &["metadata", "annotations"]).unwrap_or(&null);
    let profile = descend(spec, &["securityContext", "appArmorProfile"]);
    let path = Path::root("metadata.annotations");
    let mut warnings = Vec::new();
    visit(spec, &path, |container, _| warnings.extend(app_armor(container, annotations, profile, &path, true)));
    warnings
}

/// Warnings about the addresses in a pod's status.
pub fn status_warnings(pod: &Value) -> Vec<String> {
    let null = Value::Null;
    let status = child(pod, "status").unwrap_or(&null);
    let mut warnings = Vec::new();
    for key in ["podIPs", "hostIPs"] {
        let path = Path::root("status");
        let path = path.at(key);
        for (i, ip) in list(status, key).iter().enumerate() {
            warnings.extend(ip_warning(&path.index(i).at("ip"), text(ip, "ip")));
        }
    }
    warnings
}

fn addresses(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    if let Some(dns) = child(spec, "dnsConfig") {
        let path = path.at("dnsConfig.nameservers");
        for (i, server) in texts(dns, "nameservers").enumerate() {
            warnings.extend(ip_warning(&path.index(i), server));
        }
    }
    let path = path.at("hostAliases");
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        warnings.extend(ip_warning(&path.index(i).at("ip"), text(alias, "ip")));
    }
}

fn scheduling(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let at = path.at("nodeSelector");
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {message}", at.key(key)));
        }
    }
    if let Some(node) = descend(spec, &["affinity", "nodeAffinity"]) {
        let path = path.at("affinity.nodeAffinity");
        let required = path.at(REQUIRED);
        let required = required.at("nodeSelectorTerms");
        let terms = child(node, REQUIRED).map(|required| list(required, "nodeSelectorTerms")).unwrap_or_default();
        for (i, term) in terms.iter().enumerate() {
            node_term(term, false, &required.index(i), warnings);
        }
        let preferred = path.at(PREFERRED);
        for (i, term) in list(node, PREFERRED).iter().enumerate() {
            if let Some(preference) = child(term, "preference") {
                node_term(preference, true, &preferred.index(i).at("preference"), warnings);
            }
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
}

fn pod_affinity(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("affinity");
    for key in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = descend(spec, &["affinity", key]) else { continue };
        let path = path.at(key);
        let required = path.at(REQUIRED);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            null_selector(term, &required.index(i), warnings);
        }
        let preferred = path.at(PREFERRED);
        for (i, weighted) in list(pods, PREFERRED).iter().enumerate() {
            let null = Value::Null;
            let term = child(weighted, "podAffinityTerm").unwrap_or(&null);
            null_selector(term, &preferred.index(i).at("podAffinityTerm"), warnings);
        }
    }
}

fn null_selector(term: &Value, path: &Path, warnings: &mut Vec<String>) {
    if !has(term, "labelSelector") {
        let place = path.at("labelSelector");
        warnings.push(format!("{place}: a null labelSelector results in matching no pod"));
    }
}

/// Label values of what is only preferred are no errors.
fn node_term(term: &Value, check_values: bool, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("matchExpressions");
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let key = text(requirement, "key");
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.index(i).at("key")));
        }
        let path = path.index(i);
        let values = path.at("values");
        for (j, value) in texts(requirement, "values").enumerate().filter(|_| check_values) {
            for problem in names::label_value(value) {
                warnings.push(format!("{}: {value} is invalid, {problem}", values.index(j)));
            }
        }
    }
}

fn volumes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.at("volumes");
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(i);
        for (key, shown, message) in VOLUMES.iter().filter(|(key, ..)| has(volume, key)) {
            if *key != "ephemeral" {
                warnings.push(format!("{}: {message}", path.at(shown)));
                continue;
            }
            let resources = descend(volume, &["ephemeral", "volumeClaimTemplate", "spec", "resources"]);
            let path = path.at("ephemeral.volumeClaimTemplate.spec.resources");
            for key in ["requests", "limits"] {
                if let Some(amounts) = resources.and_then(|resources| child(resources, key)) {
                    fraction(amounts, "storage", &path.at(key), warnings);
                }
            }
        }
    }
    list(spec, "volumes").iter().for_each(|volume| overlaps(volume, warnings));
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
fn fraction(amounts: &Value, name: &str, path: &Path, warnings: &mut Vec<String>) {
    if let Some(value) = child(amounts, name).and_then(quantity).filter(|value| value.millis() % 1000 != 0) {
        let place = path.key(name);
        warnings.push(format!("{place}: fractional byte value \"{value}\" is invalid, must be an integer"));
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
                let (name, protocol) = (text(port, "name"), text(port, "protocol"));
                let number = int(port, "containerPort").unwrap_or_default();
                warnings.push(format!(
                    "{place}: hostIP set without hostPort: \
                     {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}"
                ));
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
