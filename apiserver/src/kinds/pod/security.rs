//! Security contexts of pods and containers, and what the node's operating system allows of them.

use super::super::internal::compact;
use super::super::path::{
    Path, child, descend, flag, has, in_range, int, invalid_each, list, one_of, opt_flag, opt_text, text,
};
use super::Scope;
use super::containers::visit;
use super::options::Options;
use super::volumes::descending;
use api::field::Errors;
use api::{Value, names};
use std::collections::HashSet;

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const MAX_ID: i64 = i32::MAX as i64;
const MAX_PROFILE_PATH: usize = 4095;
const SYSCTL_PATTERN: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Checks the security context of a pod, and the host's namespaces it shares.
pub fn validate_pod(spec: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    let empty = Value::Null;
    let context = child(spec, "securityContext").unwrap_or(&empty);
    let at = path.at("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        validate_id(context, key, &at, errors);
    }
    let groups = at.at("supplementalGroups");
    for (i, group) in list(context, "supplementalGroups").iter().enumerate() {
        in_range(errors, &groups.index(i), group.as_i64().unwrap_or_default(), 0, MAX_ID);
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(at.at("shareProcessNamespace"), true, detail);
    }
    validate_sysctls(spec, context, options, &at.at("sysctls"), errors);
    let choices: [(&str, &[&str]); 1] = [("fsGroupChangePolicy", &["Always", "OnRootMismatch"])];
    for (key, supported) in choices {
        if let Some(value) = opt_text(context, key) {
            one_of(errors, &at.at(key), value, supported);
        }
    }
    validate_profiles(context, &at, errors);
    let choices: [(&str, &[&str]); 2] = [
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", if options.selinux_mount { &["MountOption", "Recursive"] } else { &["Recursive"] }),
    ];
    for (key, supported) in choices {
        if let Some(value) = opt_text(context, key) {
            one_of(errors, &at.at(key), value, supported);
        }
    }
}

/// Checks the security context of a container.
pub fn validate_container(context: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    validate_id(context, "runAsUser", path, errors);
    validate_id(context, "runAsGroup", path, errors);
    if let Some(mount) = opt_text(context, "procMount") {
        let path = path.at("procMount");
        one_of(errors, &path, mount, &["Default", "Unmasked"]);
        if scope.host_users && mount == "Unmasked" {
            errors.invalid(path, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    if opt_flag(context, "allowPrivilegeEscalation") == Some(false) {
        if flag(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid_printed(path, compact("SecurityContext", context), detail);
        }
        let added = child(context, "capabilities").map(|capabilities| list(capabilities, "add")).unwrap_or_default();
        for _ in added.iter().filter(|added| added.as_str() == Some("CAP_SYS_ADMIN")) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid_printed(path, compact("SecurityContext", context), detail);
        }
    }
    validate_profiles(context, path, errors);
}

fn validate_id(context: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if let Some(id) = int(context, key) {
        in_range(errors, &path.at(key), id, 0, MAX_ID);
    }
}

fn validate_profiles(context: &Value, path: &Path, errors: &mut Errors) {
    if let Some(profile) = child(context, "seccompProfile") {
        validate_seccomp(profile, &path.at("seccompProfile"), errors);
    }
    if let Some(options) = child(context, "windowsOptions") {
        validate_windows_options(options, &path.at("windowsOptions"), errors);
    }
    if let Some(profile) = child(context, "appArmorProfile") {
        validate_app_armor(profile, &path.at("appArmorProfile"), errors);
    }
}

fn validate_seccomp(profile: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(profile, "type");
    if kind.is_empty() {
        errors.required(path.at("type"), "type is required when seccompProfile is set");
    } else {
        one_of(errors, &path.at("type"), kind, &PROFILE_TYPES);
    }
    let at = path.at("localhostProfile");
    match (kind, opt_text(profile, "localhostProfile")) {
        ("Localhost", None) => errors.required(at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => descending(file, &at, errors),
        (_, Some(_)) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.invalid_printed(at, compact("SeccompProfile", profile), detail);
        }
        _ => {}
    }
}

/// Checks an AppArmor profile (KEP-24).
pub fn validate_app_armor(profile: &Value, path: &Path, errors: &mut Errors) {
    let at = path.at("localhostProfile");
    let file = opt_text(profile, "localhostProfile");
    match text(profile, "type") {
        "Localhost" => {
            let file = file.unwrap_or_default();
            if file.trim() != file {
                errors.invalid(at, file, "must not be padded with whitespace");
            } else if file.is_empty() {
                errors.required(at, "must be set when AppArmor type is Localhost");
            }
            if file.len() > MAX_PROFILE_PATH {
                errors.too_long(at, MAX_PROFILE_PATH);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(file) = file {
                errors.invalid(at, file, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => errors.required(path.at("type"), "type is required when appArmorProfile is set"),
        other => errors.not_supported(path.at("type"), other, &PROFILE_TYPES),
    }
}

fn validate_sysctls(spec: &Value, context: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (i, sysctl) in list(context, "sysctls").iter().enumerate() {
        let path = path.index(i);
        let path = path.at("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.required(path, "");
        } else if !is_sysctl(name) {
            let detail = format!("must have at most 253 characters and match regex {SYSCTL_PATTERN}");
            errors.invalid(path, name, detail);
        } else if !seen.insert(name) {
            errors.duplicate(path, name);
        }
        if !options.host_sysctls {
            validate_host_sysctl(spec, name, &path, errors);
        }
    }
}

/// A kernel parameter of a namespace is not set for the host.
fn validate_host_sysctl(spec: &Value, name: &str, path: &Path, errors: &mut Errors) {
    match sysctl_namespace(name) {
        Some("net") if flag(spec, "hostNetwork") => {
            errors.invalid(path, name, "may not be specified when 'hostNetwork' is true");
        }
        Some("ipc") if flag(spec, "hostIPC") => {
            errors.invalid(path, name, "may not be specified when 'hostIPC' is true");
        }
        _ => {}
    }
}

/// Whether the pod sets kernel parameters of the host's namespaces.
pub fn validate_host_sysctls(spec: &Value, errors: &mut Errors) {
    let sysctls = child(spec, "securityContext").map(|context| list(context, "sysctls")).unwrap_or_default();
    for sysctl in sysctls {
        validate_host_sysctl(spec, text(sysctl, "name"), &Path::root(""), errors);
    }
}

fn is_sysctl(name: &str) -> bool {
    let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).map(str::as_bytes).all(|segment| {
            segment.first().is_some_and(end)
                && segment.last().is_some_and(end)
                && segment.iter().all(|b| end(b) || matches!(b, b'-' | b'_'))
        })
}

/// The kernel namespace that a sysctl belongs to.
fn sysctl_namespace(name: &str) -> Option<&'static str> {
    let name = name.replace('/', ".");
    match name.as_str() {
        "kernel.sem" => Some("ipc"),
        name if ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix)) => Some("ipc"),
        name if name.starts_with("net.") => Some("net"),
        _ => None,
    }
}

fn validate_windows_options(options: &Value, path: &Path, errors: &mut Errors) {
    const MAX_SPEC_KIB: usize = 64;
    if let Some(name) = opt_text(options, "gmsaCredentialSpecName") {
        invalid_each(errors, &path.at("gmsaCredentialSpecName"), name, names::dns1123_subdomain(name));
    }
    if let Some(spec) = opt_text(options, "gmsaCredentialSpec") {
        let path = path.at("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > MAX_SPEC_KIB * 1024 {
            errors.invalid(path, spec, format!("gmsaCredentialSpec size must be under {MAX_SPEC_KIB} KiB"));
        }
    }
    if let Some(name) = opt_text(options, "runAsUserName") {
        for detail in windows_user_problems(name) {
            errors.invalid(path.at("runAsUserName"), name, detail);
        }
    }
}

fn windows_user_problems(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            problems.push("runAsUserName's Domain length must be under 256 characters");
        }
        let netbios = (1..=15).contains(&domain.chars().count())
            && !domain.starts_with('.')
            && !domain.contains(|c| "\\/:*?\"<>|".contains(c));
        let dns = domain.split('.').all(|label| {
            label.len() <= 63
                && !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if !netbios && !dns {
            problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        problems.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        problems.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
    problems
}

/// Windows HostProcess containers: all of a pod's or none (KEP-1981).
pub fn validate_host_process(spec: &Value, path: &Path, errors: &mut Errors) {
    let host_process = |context: Option<&Value>| {
        context.and_then(|c| descend(c, &["windowsOptions", "hostProcess"])).and_then(Value::as_bool)
    };
    let of_pod = host_process(child(spec, "securityContext"));
    let (mut all, mut with) = (0, 0);
    visit(spec, path, |container, path| {
        all += 1;
        let own = host_process(child(container, "securityContext"));
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(path.at("securityContext.windowsOptions.hostProcess"), own, detail);
        }
        with += usize::from(own.or(of_pod) == Some(true));
    });
    if with == 0 {
        return;
    }
    if with != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", detail);
    }
    if !flag(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(path.at("hostNetwork"), false, detail);
    }
}

/// What pods with their own user namespace may not share with the host (KEP-127).
pub fn validate_host_users(spec: &Value, scope: &Scope, path: &Path, errors: &mut Errors) {
    if scope.host_users {
        return;
    }
    let detail = "when `hostUsers` is false";
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, key) && !(key == "hostNetwork" && scope.options.user_namespace_network) {
            errors.forbidden(path.at(shown), detail);
        }
    }
    visit(spec, path, |container, path| {
        if !list(container, "volumeDevices").is_empty() && !scope.options.user_namespace_devices {
            errors.forbidden(path.at("volumeDevices"), detail);
        }
    });
}

/// The operating system that the pod names, and the fields that another system has.
pub fn validate_os(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(os) = child(spec, "os") else { return };
    match text(os, "name") {
        "" => errors.required(path.at("os.name"), ""),
        "linux" => forbid_fields(
            spec,
            path,
            &["windowsOptions"],
            &["windowsOptions"],
            "windows options cannot be set for a linux pod",
            errors,
        ),
        "windows" => {
            forbid_fields(spec, path, &WINDOWS_POD, &WINDOWS_CONTAINER, "cannot be set for a windows pod", errors)
        }
        other => errors.not_supported(path.at("os"), other, &["linux", "windows"]),
    }
}

/// Fields of the security context, and those that stand beside it in the specification.
const WINDOWS_POD: [&str; 15] = [
    "appArmorProfile",
    "seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "shareProcessNamespace",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn forbid_fields(spec: &Value, path: &Path, of_pod: &[&str], of_container: &[&str], detail: &str, errors: &mut Errors) {
    let context = child(spec, "securityContext");
    for key in of_pod {
        // The host's process and IPC namespaces are plain booleans: false is the same as not set.
        let set = match *key {
            "hostPID" | "hostIPC" => flag(spec, key),
            "hostUsers" | "shareProcessNamespace" => has(spec, key),
            _ => {
                if is_set(context, key) {
                    errors.forbidden(path.at("securityContext").at(key), detail);
                }
                false
            }
        };
        if set {
            errors.forbidden(path.at(key), detail);
        }
    }
    visit(spec, path, |container, path| {
        let context = child(container, "securityContext");
        for key in of_container.iter().filter(|key| is_set(context, key)) {
            errors.forbidden(path.at("securityContext").at(key), detail);
        }
    });
}

/// Whether a security context has a field. A list of kernel parameters has to have some.
fn is_set(context: Option<&Value>, key: &str) -> bool {
    context.is_some_and(|context| if key == "sysctls" { !list(context, key).is_empty() } else { has(context, key) })
}
