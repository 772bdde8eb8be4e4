//! Where a pod wants to run: node affinity, affinity to other pods, spreading over domains.

use super::super::internal::{compact, compact_list};
use super::super::labels::{validate_key, validate_selector, validate_selector_values};
use super::super::path::{Path, child, entries, int, invalid_each, list, one_of, opt_text, shown, text, texts};
use super::options::Options;
use api::field::Errors;
use api::{Value, names};
use std::collections::{HashMap, HashSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks `affinity` of a pod.
pub fn validate(affinity: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    if let Some(node) = child(affinity, "nodeAffinity") {
        validate_node_affinity(node, options, &path.at("nodeAffinity"), errors);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = child(affinity, key) else { continue };
        let path = path.at(key);
        let required = path.at(REQUIRED);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            validate_pod_term(term, options, &required.index(i), errors);
        }
        let preferred = path.at(PREFERRED);
        for (i, weighted) in list(pods, PREFERRED).iter().enumerate() {
            let path = preferred.index(i);
            validate_weight(weighted, &path, errors);
            let none = shown(None);
            let term = child(weighted, "podAffinityTerm").unwrap_or(&none);
            validate_pod_term(term, options, &path.at("podAffinityTerm"), errors);
        }
    }
}

/// Whether label values that affinity to pods selects by are invalid, and whether something of the required affinity
/// to nodes is.
pub fn invalid_values(affinity: &Value) -> (bool, bool) {
    let path = Path::root("");
    let (mut of_pods, mut of_nodes) = (Errors::new(), Errors::new());
    for pods in ["podAffinity", "podAntiAffinity"].iter().filter_map(|key| child(affinity, key)) {
        let preferred = list(pods, PREFERRED).iter().filter_map(|weighted| child(weighted, "podAffinityTerm"));
        for term in list(pods, REQUIRED).iter().chain(preferred) {
            validate_term_selectors(term, true, &path, &mut of_pods);
        }
    }
    if let Some(selector) = child(affinity, "nodeAffinity").and_then(|nodes| child(nodes, REQUIRED)) {
        validate_node_selector(selector, &path, &mut of_nodes);
    }
    (!of_pods.is_empty(), !of_nodes.is_empty())
}

fn validate_node_affinity(affinity: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    if let Some(selector) = child(affinity, REQUIRED) {
        validate_selector_terms(selector, !options.node_affinity_values, &path.at(REQUIRED), errors);
    }
    let path = path.at(PREFERRED);
    for (i, term) in list(affinity, PREFERRED).iter().enumerate() {
        let path = path.index(i);
        validate_weight(term, &path, errors);
        if let Some(preference) = child(term, "preference") {
            validate_node_term(preference, false, &path.at("preference"), errors);
        }
    }
}

fn validate_weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = int(term, "weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid(path.at("weight"), weight, "must be in the range 1-100");
    }
}

/// Checks a node selector, as pods require nodes with it and volumes are bound to nodes with it.
pub fn validate_node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    validate_selector_terms(selector, true, path, errors);
}

fn validate_selector_terms(selector: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    let path = path.at("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(path, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        validate_node_term(term, strict_values, &path.index(i), errors);
    }
}

fn validate_node_term(term: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    let expressions = path.at("matchExpressions");
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        validate_node_requirement(requirement, strict_values, &expressions.index(i), errors);
    }
    let fields = path.at("matchFields");
    for (i, requirement) in list(term, "matchFields").iter().enumerate() {
        let path = fields.index(i);
        match text(requirement, "operator") {
            "In" | "NotIn" => {
                if list(requirement, "values").len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.required(path.at("values"), detail);
                }
            }
            other => errors.invalid(path.at("operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "key");
        if key != "metadata.name" {
            errors.invalid(path.at("key"), key, "not a valid field selector key");
            continue;
        }
        let values = path.at("values");
        for (j, value) in texts(requirement, "values").enumerate() {
            invalid_each(errors, &values.index(j), value, names::dns1123_subdomain(value));
        }
    }
}

fn validate_node_requirement(requirement: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    let values = list(requirement, "values");
    let at = path.at("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(path.at("operator"), other, "not a valid selector operator"),
    }
    validate_key(text(requirement, "key"), &path.at("key"), errors);
    if strict_values {
        for (i, value) in texts(requirement, "values").enumerate() {
            invalid_each(errors, &at.index(i), value, names::label_value(value));
        }
    }
}

fn validate_term_selectors(term: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = child(term, key) {
            validate_selector_values(selector, strict_values, &path.at(key), errors);
        }
    }
}

fn validate_pod_term(term: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    validate_term_selectors(term, !options.selector_values, path, errors);
    for namespace in texts(term, "namespaces") {
        invalid_each(errors, &path.at("namespace"), namespace, names::dns1123_label(namespace));
    }
    validate_label_keys(term, path, errors);
    let topology = text(term, "topologyKey");
    let path = path.at("topologyKey");
    if topology.is_empty() {
        errors.required(path, "can not be empty");
    }
    validate_key(topology, &path, errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys`: keys whose values come from the pod itself (KEP-3633, KEP-3243).
pub fn validate_label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = child(term, "labelSelector");
    for key in ["matchLabelKeys", "mismatchLabelKeys"] {
        let path = path.at(key);
        if selector.is_none() && !list(term, key).is_empty() {
            errors.forbidden(path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, label) in texts(term, key).enumerate() {
            validate_key(label, &path.index(i), errors);
        }
    }
    let keys: HashMap<&str, usize> = texts(term, "matchLabelKeys").enumerate().map(|(i, key)| (key, i)).collect();
    if keys.is_empty() {
        return;
    }
    if let Some(selector) = selector {
        // The registry itself adds each of the keys once to the selector, thus the second one is an error.
        let mut selected: HashSet<&str> = entries(selector, "matchLabels").map(|(key, _)| key).collect();
        for requirement in list(selector, "matchExpressions") {
            let key = text(requirement, "key");
            if let Some(i) = keys.get(key).filter(|_| selected.contains(key)) {
                errors.invalid(path.index(*i), key, "exists in both matchLabelKeys and labelSelector");
            }
            selected.insert(key);
        }
    }
    let mismatched: HashSet<&str> = texts(term, "mismatchLabelKeys").collect();
    let path = path.at("matchLabelKeys");
    for (i, key) in texts(term, "matchLabelKeys").enumerate() {
        if mismatched.contains(key) {
            errors.invalid(path.index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// Keys that are not written out in the selector, as they were not until v1.34: it may not select by them too.
fn validate_plain_label_keys(constraint: &Value, path: &Path, errors: &mut Errors) {
    let keys = list(constraint, "matchLabelKeys");
    let selector = child(constraint, "labelSelector");
    if selector.is_none() && !keys.is_empty() {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    let selected: HashSet<&str> = selector
        .into_iter()
        .flat_map(|selector| {
            let labels = entries(selector, "matchLabels").map(|(key, _)| key);
            labels.chain(list(selector, "matchExpressions").iter().map(|requirement| text(requirement, "key")))
        })
        .collect();
    for (i, key) in texts(constraint, "matchLabelKeys").enumerate() {
        validate_key(key, &path.index(i), errors);
        if selected.contains(key) {
            errors.invalid(path.index(i), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// Checks `topologySpreadConstraints`.
pub fn validate_spread(constraints: &[Value], options: &Options, path: &Path, errors: &mut Errors) {
    let identity = |constraint| (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
    let last: HashMap<_, _> = constraints.iter().enumerate().map(|(i, constraint)| (identity(constraint), i)).collect();
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        let (key, action) = identity(constraint);
        let skew = int(constraint, "maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.invalid(path.at("maxSkew"), skew, "must be greater than zero");
        }
        if key.is_empty() {
            errors.required(path.at("topologyKey"), "can not be empty");
        }
        one_of(errors, &path.at("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        if last.get(&(key, action)).is_some_and(|last| *last > i) {
            errors.duplicate(path.at("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            let path = path.at("minDomains");
            if domains <= 0 {
                errors.invalid(path, domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(path, domains, detail);
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = opt_text(constraint, key) {
                one_of(errors, &path.at(key), policy, &["Honor", "Ignore"]);
            }
        }
        if options.plain_label_keys {
            validate_plain_label_keys(constraint, &path.at("matchLabelKeys"), errors);
        } else {
            validate_label_keys(constraint, &path, errors);
        }
        if let Some(selector) = child(constraint, "labelSelector").filter(|_| !options.spread_selectors) {
            validate_selector(selector, &path.at("labelSelector"), errors);
        }
    }
}

/// Checks tolerations of taints; `comparing` allows those that compare numbers (KEP-5471), which new ones may not.
pub fn validate_tolerations(tolerations: &[Value], comparing: bool, path: &Path, errors: &mut Errors) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
        let at = path.at("operator");
        if !key.is_empty() {
            validate_key(key, &path.at("key"), errors);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(at, operator, detail);
        }
        if int(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(path.at("effect"), effect, detail);
        }
        match operator {
            "Equal" | "" => {
                let problems = names::label_value(value);
                if !problems.is_empty() {
                    errors.invalid(at, value, problems.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(at, value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" if comparing => validate_number(value, &path.at("value"), errors),
            "Lt" | "Gt" => errors.not_supported(at, operator, &["Equal", "Exists", "Lt", "Gt"]),
            other => errors.not_supported(at, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            one_of(errors, &path.at("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn validate_number(value: &str, path: &Path, errors: &mut Errors) {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let canonical = digits == "0" && value == "0"
        || !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if !canonical {
        errors.invalid(path, value, "must be a valid decimal integer in canonical form");
    }
    if value.parse::<i64>().is_err() {
        let why = if canonical { "value out of range" } else { "invalid syntax" };
        errors.invalid(path, value, format!("strconv.ParseInt: parsing {}: {why}", api::field::quote(value)));
    }
}

/// While a pod is gated its node selector may grow, and only that.
pub fn validate_node_selector_grows(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let kept = old
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .all(|(key, value)| new.and_then(|new| new.get(key)) == Some(value));
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(path, shown(new), detail);
    }
}

/// While a pod is gated its node affinity may become stricter, and only that.
pub fn validate_node_affinity_grows(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    fn terms(affinity: Option<&Value>) -> &[Value] {
        affinity.and_then(|a| child(a, REQUIRED)).map(|s| list(s, "nodeSelectorTerms")).unwrap_or_default()
    }
    let (new_terms, old_terms) = (terms(new), terms(old));
    let path = path.at(REQUIRED);
    let path = path.at("nodeSelectorTerms");
    if !old_terms.is_empty() && old_terms.len() != new_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if new_terms.is_empty() { "null".to_owned() } else { compact_list("NodeSelectorTerm", new_terms) };
        return errors.invalid_printed(path, shown, detail);
    }
    for (i, (new, old)) in new_terms.iter().zip(old_terms).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|key| list(old, key).is_empty());
        let grows = lists.iter().all(|key| list(new, key).starts_with(list(old, key)));
        if !grows || (was_empty && lists.iter().any(|key| !list(new, key).is_empty())) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid_printed(path.index(i), compact("NodeSelectorTerm", new), detail);
        }
    }
}
