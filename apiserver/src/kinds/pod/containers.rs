//! Containers of a pod: regular, init and ephemeral ones.

use super::super::path::{
    Path, child, has, in_range, int, invalid_each, list, one_of, opt_text, required_one_of, required_text, text,
};
use super::{Scope, env, mounts, probes, resources, security};
use api::field::Errors;
use api::{Value, names};
use std::collections::HashSet;

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
/// What other containers have and an ephemeral one may not.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks all containers of a pod's specification.
pub fn validate(spec: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let (containers, init) = (list(spec, "containers"), list(spec, "initContainers"));
    validate_containers(containers, scope, &path.at("containers"), errors);
    let regular: HashSet<&str> = containers.iter().map(|container| text(container, "name")).collect();
    validate_init_containers(init, &regular, scope, &path.at("initContainers"), errors);
    let ephemeral = list(spec, "ephemeralContainers");
    if !ephemeral.is_empty() {
        let mut names = regular;
        names.extend(init.iter().map(|container| text(container, "name")));
        validate_ephemeral_containers(ephemeral, names, scope, &path.at("ephemeralContainers"), errors);
    }
}

fn validate_containers(containers: &[Value], scope: &Scope, path: &Path, errors: &mut Errors) {
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        validate_common(container, scope, &path, errors);
        if !seen.insert(text(container, "name")) {
            errors.duplicate(path.at("name"), text(container, "name"));
        }
        probes::validate(container, scope, &path, errors);
        validate_restart_policy(container, false, &path, errors);
    }
    resources::validate_host_ports(containers, path, errors);
}

fn validate_init_containers<'a>(
    containers: &'a [Value],
    regular: &HashSet<&'a str>,
    scope: &Scope,
    list_path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = list_path.index(i);
        let name = text(container, "name");
        validate_common(container, scope, &path, errors);
        validate_restart_policy(container, true, &path, errors);
        if regular.contains(name) || (!name.is_empty() && !seen.insert(name)) {
            errors.duplicate(path.at("name"), name);
        }
        resources::validate_host_ports(std::slice::from_ref(container), list_path, errors);
        if text(container, "restartPolicy") == "Always" {
            probes::validate(container, scope, &path, errors);
            continue;
        }
        probes::forbid(container, &path, errors);
        let policies = path.at("resizePolicy");
        for (j, policy) in list(container, "resizePolicy").iter().enumerate() {
            if text(policy, "restartPolicy") == "RestartContainer" && !scope.options.restarted_init_containers {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.invalid(policies.index(j).at("restartPolicy"), "RestartContainer", detail);
            }
        }
    }
}

fn validate_ephemeral_containers<'a>(
    containers: &'a [Value],
    others: HashSet<&'a str>,
    scope: &Scope,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        let (name, target) = (text(container, "name"), text(container, "targetContainerName"));
        validate_common(container, scope, &path, errors);
        validate_image_spaces(container, &path, errors);
        if others.contains(name) || !seen.insert(name) {
            errors.duplicate(path.at("name"), name);
        }
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(path.at("targetContainerName"), target);
        }
        for key in NOT_EPHEMERAL {
            let empty = match child(container, key) {
                None => true,
                Some(Value::Object(fields)) => key == "resources" && fields.is_empty(),
                Some(_) => false,
            };
            if !empty {
                errors.forbidden(path.at(key), "cannot be set for an Ephemeral Container");
            }
        }
        let mounts = path.at("volumeMounts");
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !text(mount, key).is_empty() {
                    errors.forbidden(mounts.index(j).at(key), "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// Images of pods (not of templates) have no spaces around them.
pub fn validate_image_spaces(container: &Value, path: &Path, errors: &mut Errors) {
    let image = text(container, "image");
    if image.trim() != image {
        errors.invalid(path.at("image"), image, "must not have leading or trailing whitespace");
    }
}

fn validate_common(container: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(path.at("name"), "");
    } else {
        invalid_each(errors, &path.at("name"), name, names::dns1123_label(name));
    }
    required_text(errors, container, path, "image");
    let policy = text(container, "terminationMessagePolicy");
    required_one_of(errors, &path.at("terminationMessagePolicy"), policy, &["File", "FallbackToLogsOnError"]);
    validate_ports(container, &path.at("ports"), errors);
    env::validate(container, path, errors);
    mounts::validate(container, scope, path, errors);
    let pull = text(container, "imagePullPolicy");
    required_one_of(errors, &path.at("imagePullPolicy"), pull, &["Always", "IfNotPresent", "Never"]);
    if let Some(resources) = child(container, "resources") {
        resources::validate_container(resources, scope, &path.at("resources"), errors);
    }
    resources::validate_resize_policy(container, scope, path, errors);
    if let Some(context) = child(container, "securityContext") {
        security::validate_container(context, scope, &path.at("securityContext"), errors);
    }
}

fn validate_ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !seen.insert(name) {
                errors.duplicate(path.at("name"), name);
            }
            invalid_each(errors, &path.at("name"), name, messages);
        }
        match int(port, "containerPort").unwrap_or_default() {
            0 => errors.required(path.at("containerPort"), ""),
            number => in_range(errors, &path.at("containerPort"), number, 1, 65535),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            in_range(errors, &path.at("hostPort"), number, 1, 65535);
        }
        required_one_of(errors, &path.at("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// A container's own restart policy and its rules by exit code (KEP-5307). Rules of an init container without a policy are
/// not looked at.
fn validate_restart_policy(container: &Value, is_init: bool, path: &Path, errors: &mut Errors) {
    let rules = list(container, "restartPolicyRules");
    match opt_text(container, "restartPolicy") {
        Some(policy) => one_of(errors, &path.at("restartPolicy"), policy, &RESTART_POLICIES),
        None if rules.is_empty() => return,
        None => {
            errors.required(path.at("restartPolicy"), "must specify restartPolicy when restart rules are used");
            if is_init {
                return;
            }
        }
    }
    let path = path.at("restartPolicyRules");
    if rules.len() > MAX_RESTART_RULES {
        errors.too_many(path, rules.len(), MAX_RESTART_RULES);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        one_of(errors, &path.at("action"), text(rule, "action"), &["Restart", "RestartAllContainers"]);
        let at = path.at("exitCodes");
        let Some(codes) = child(rule, "exitCodes") else {
            errors.required(at, "must be specified");
            continue;
        };
        one_of(errors, &at.at("operator"), text(codes, "operator"), &["In", "NotIn"]);
        let values = list(codes, "values").len();
        if values > MAX_EXIT_CODES {
            errors.too_many(at.at("values"), values, MAX_EXIT_CODES);
        }
    }
}

/// Every container of a pod's specification, with its place: init, regular, then ephemeral ones.
pub fn visit<'a>(spec: &'a Value, path: &Path, mut each: impl FnMut(&'a Value, &Path)) {
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        let path = path.at(key);
        for (i, container) in list(spec, key).iter().enumerate() {
            each(container, &path.index(i));
        }
    }
}

/// Whether a pod runs on its node's network, and with all ports of that.
pub fn validate_host_network(spec: &Value, is_pod: bool, path: &Path, errors: &mut Errors) {
    if !super::super::path::flag(spec, "hostNetwork") {
        return;
    }
    let path = path.at("containers");
    for (i, container) in list(spec, "containers").iter().enumerate() {
        let path = path.index(i);
        let path = path.at("ports");
        for (j, port) in list(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or_default();
            if (is_pod || has(port, "hostPort") && host != 0) && host != int(port, "containerPort").unwrap_or_default()
            {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(path.index(j).at("hostPort"), host, detail);
            }
        }
    }
}
