//! LimitRanger: containers get the namespace's defaults, and nothing asks for less or more than its LimitRanges allow.
//!
//! Follows `plugin/pkg/admission/limitranger`.

use super::Operation;
use crate::registry::Call;
use crate::resources;
use api::document;
use api::quantity::Quantity;
use api::resource_list::{Counting, ResourceList, list, quantity};
use api::status::ApiError;
use api::{Map, Value};
use storage::Range;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// What a pod is measured by: what it says, not what it has.
const SPEC: Counting = Counting { status: false, overhead: false, pod_level: |name| matches!(name, "cpu" | "memory") };

pub fn mutate(call: &Call<'_>, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    if concerns(call, operation) && call.resource.kind.kind == "Pod" && !document::is_terminating(object) {
        limit_ranges(call)?.iter().for_each(|range| set_defaults(object, range));
    }
    Ok(())
}

pub fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(object) = object.filter(|_| concerns(call, operation)) else { return Ok(()) };
    if old.is_some_and(document::is_terminating) {
        return Ok(());
    }
    for range in limit_ranges(call)? {
        let problems = match call.resource.kind.kind {
            "Pod" => pod_problems(object, &range),
            _ => claim_problems(object, &range),
        };
        let why = match problems.as_slice() {
            [] => continue,
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        return Err(ApiError::forbidden("", call.resource.kind.resource, document::name(object), why));
    }
    Ok(())
}

/// A pod's resources change only when it is made or resized; a claim's with any update.
fn concerns(call: &Call<'_>, operation: Operation) -> bool {
    let kind = call.resource.kind;
    kind.group.is_empty()
        && match (kind.kind, call.subresource) {
            ("Pod", "") => operation == Operation::Create,
            ("Pod", "resize") => operation == Operation::Update,
            ("PersistentVolumeClaim", "") => operation != Operation::Delete,
            _ => false,
        }
}

/// The LimitRanges of the namespace, by name.
fn limit_ranges(call: &Call<'_>) -> Result<Vec<Value>, ApiError> {
    let ranges = resources::builtin("", "limitranges");
    let range = Range { prefix: &ranges.scope(call.namespace), ..Range::default() };
    let found = call.server.store.range(range).map_err(|error| call.server.store_error(error))?;
    found.entries.iter().map(|entry| ranges.read(&entry.value)).collect()
}

fn limits<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    let all = document::get_list(range, "spec.limits").iter();
    all.filter(move |limit| document::get_str(limit, "type") == kind)
}

/// Gives containers the limits and requests that they leave open, and notes it in an annotation.
fn set_defaults(pod: &mut Value, range: &Value) {
    let (mut default_limits, mut default_requests) = (Map::new(), Map::new());
    for limit in limits(range, "Container") {
        default_limits.extend(document::get_map(limit, "default").cloned().unwrap_or_default());
        default_requests.extend(document::get_map(limit, "defaultRequest").cloned().unwrap_or_default());
    }
    let mut notes = Vec::new();
    for (key, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(key)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let requests = merge(container, "requests", &default_requests);
            let limits = merge(container, "limits", &default_limits);
            let name = document::get_str(container, "name");
            for (set, kind) in [(requests, "request"), (limits, "limit")] {
                if !set.is_empty() {
                    notes.push(format!("{} {kind} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let annotations = document::child(document::metadata_mut(pod), "annotations");
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", notes.join("; ")).into());
    }
}

/// Adds what a container's list lacks; gives the names of what was added.
fn merge<'a>(container: &mut Value, list_name: &str, defaults: &'a Map) -> Vec<&'a str> {
    let path = format!("resources.{list_name}");
    let have = document::get_map(container, &path);
    let added: Vec<_> = defaults.iter().filter(|(name, _)| have.is_none_or(|have| !have.contains_key(*name))).collect();
    if !added.is_empty() {
        let mut list = have.cloned().unwrap_or_default();
        list.extend(added.iter().map(|(name, value)| ((*name).clone(), (*value).clone())));
        document::set(container, &path, list);
    }
    let mut names: Vec<&str> = added.into_iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

fn pod_problems(pod: &Value, range: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for limit in document::get_list(range, "spec.limits") {
        match document::get_str(limit, "type") {
            "Container" => {
                let lists = ["spec.containers", "spec.initContainers"];
                for container in lists.iter().flat_map(|path| document::get_list(pod, path)) {
                    let (requests, limits) =
                        (list(container, "resources.requests"), list(container, "resources.limits"));
                    Measured { kind: "Container", requests, limits }.compare(limit, &mut problems);
                }
            }
            "Pod" => {
                let measured = Measured { kind: "Pod", requests: SPEC.requests(pod), limits: SPEC.limits(pod) };
                measured.compare(limit, &mut problems);
            }
            _ => {}
        }
    }
    problems
}

/// A claim has only requests.
fn claim_problems(claim: &Value, range: &Value) -> Vec<String> {
    let requests = list(claim, "spec.resources.requests");
    let claim = Measured { kind: "PersistentVolumeClaim", requests, limits: ResourceList::new() };
    let mut problems = Vec::new();
    for limit in limits(range, claim.kind) {
        bounds(limit, "min").for_each(|bound| problems.extend(claim.below(&bound)));
        bounds(limit, "max").for_each(|bound| problems.extend(claim.requested_above(&bound)));
    }
    problems
}

/// An amount of a resource that a LimitRange names.
struct Bound<'a> {
    name: &'a str,
    amount: Quantity,
}

fn bounds<'a>(limit: &'a Value, key: &str) -> impl Iterator<Item = Bound<'a>> {
    let entries = document::get_map(limit, key).into_iter().flatten();
    entries.filter_map(|(name, value)| Some(Bound { name, amount: quantity(value)? }))
}

/// What one thing of a kind asks for.
struct Measured {
    kind: &'static str,
    requests: ResourceList,
    limits: ResourceList,
}

impl Measured {
    fn compare(&self, limit: &Value, problems: &mut Vec<String>) {
        bounds(limit, "min").for_each(|bound| problems.extend(self.below(&bound)));
        bounds(limit, "max").for_each(|bound| problems.extend(self.above(&bound)));
        bounds(limit, "maxLimitRequestRatio").for_each(|bound| problems.extend(self.apart(&bound)));
    }

    fn request(&self, bound: &Bound<'_>) -> Option<Quantity> {
        self.requests.get(bound.name).copied()
    }

    fn limit(&self, bound: &Bound<'_>) -> Option<Quantity> {
        self.limits.get(bound.name).copied()
    }

    fn below(&self, bound: &Bound<'_>) -> Option<String> {
        let (kind, Bound { name, amount }) = (self.kind, bound);
        let what = match (self.request(bound), self.limit(bound)) {
            (None, _) => return Some(format!("minimum {name} usage per {kind} is {amount}.  No request is specified")),
            (Some(request), _) if request < *amount => format!("request is {request}"),
            (_, Some(limit)) if limit < *amount => format!("limit is {limit}"),
            _ => return None,
        };
        Some(format!("minimum {name} usage per {kind} is {amount}, but {what}"))
    }

    fn above(&self, bound: &Bound<'_>) -> Option<String> {
        let (kind, Bound { name, amount }) = (self.kind, bound);
        let what = match (self.limit(bound), self.request(bound)) {
            (None, _) => return Some(format!("maximum {name} usage per {kind} is {amount}.  No limit is specified")),
            (Some(limit), _) if limit > *amount => format!("limit is {limit}"),
            (_, Some(request)) if request > *amount => format!("request is {request}"),
            _ => return None,
        };
        Some(format!("maximum {name} usage per {kind} is {amount}, but {what}"))
    }

    fn requested_above(&self, bound: &Bound<'_>) -> Option<String> {
        let (kind, Bound { name, amount }) = (self.kind, bound);
        match self.request(bound) {
            None => Some(format!("maximum {name} usage per {kind} is {amount}.  No request is specified")),
            Some(request) if request > *amount => {
                Some(format!("maximum {name} usage per {kind} is {amount}, but request is {request}"))
            }
            Some(_) => None,
        }
    }

    /// The limit is more times the request than it may be.
    fn apart(&self, bound: &Bound<'_>) -> Option<String> {
        let (kind, Bound { name, amount }) = (self.kind, bound);
        let missing = |what: &str| {
            let why = format!("but no {what} is specified or {what} is 0");
            Some(format!("{name} max limit to request ratio per {kind} is {amount}, {why}"))
        };
        let some = |amount: Option<Quantity>| amount.filter(|amount| !amount.is_zero());
        let Some(request) = some(self.request(bound)) else { return missing("request") };
        let Some(limit) = some(self.limit(bound)) else { return missing("limit") };
        let ratio = limit.nanos() as f64 / request.nanos() as f64;
        (ratio * 1000.0 > amount.millis() as f64).then(|| {
            format!("{name} max limit to request ratio per {kind} is {amount}, but provided ratio is {ratio:.6}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limit: Value) -> Value {
        json!({ "spec": { "limits": [limit] } })
    }

    fn pod(resources: Value) -> Value {
        json!({ "metadata": {}, "spec": { "containers": [{ "name": "a", "resources": resources }] } })
    }

    #[test]
    fn containers_get_what_they_leave_open() {
        let range = range(json!({
            "type": "Container", "default": { "memory": "2Gi", "cpu": "1" }, "defaultRequest": { "cpu": "100m" },
        }));
        let mut pod = pod(json!({ "limits": { "cpu": "2" } }));
        pod["spec"]["initContainers"] = json!([{ "name": "i", "resources": { "requests": { "cpu": "1" } } }]);
        set_defaults(&mut pod, &range);
        let of = |list: &str| pod["spec"][list][0]["resources"].clone();
        let wanted = json!({ "limits": { "cpu": "2", "memory": "2Gi" }, "requests": { "cpu": "100m" } });
        assert_eq!(of("containers"), wanted);
        let wanted = json!({ "limits": { "cpu": "1", "memory": "2Gi" }, "requests": { "cpu": "1" } });
        assert_eq!(of("initContainers"), wanted);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; \
             cpu, memory limit for init container i"
        );
    }

    #[test]
    fn what_is_outside_of_the_bounds_is_told() {
        let container = |key: &str, amount: &str| json!({ "type": "Container", key: { "cpu": amount } });
        let asks = |request: &str, limit: &str| json!({ "requests": { "cpu": request }, "limits": { "cpu": limit } });
        for (limit, resources, problem) in [
            (container("min", "1"), asks("1", "1"), ""),
            (container("min", "1"), json!({}), "minimum cpu usage per Container is 1.  No request is specified"),
            (container("min", "1"), asks("500m", "2"), "minimum cpu usage per Container is 1, but request is 500m"),
            (container("max", "1"), asks("500m", "1"), ""),
            (container("max", "1"), json!({}), "maximum cpu usage per Container is 1.  No limit is specified"),
            (container("max", "1"), asks("1", "2"), "maximum cpu usage per Container is 1, but limit is 2"),
            (container("maxLimitRequestRatio", "2"), asks("1", "2"), ""),
            (
                container("maxLimitRequestRatio", "1500m"),
                asks("1", "2"),
                "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
            ),
            (
                container("maxLimitRequestRatio", "2"),
                json!({ "requests": { "cpu": "1" } }),
                "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
            ),
        ] {
            let problems = pod_problems(&pod(resources), &range(limit.clone()));
            assert_eq!(problems.join("|"), problem, "{limit}");
        }
    }

    #[test]
    fn claims_are_measured_by_their_requests() {
        let range =
            range(json!({ "type": "PersistentVolumeClaim", "min": { "storage": "1Gi" }, "max": { "storage": "2Gi" } }));
        let problems = |storage: &str| {
            claim_problems(&json!({ "spec": { "resources": { "requests": { "storage": storage } } } }), &range)
        };
        assert_eq!(problems("1Gi"), [""; 0]);
        assert_eq!(problems("3Gi"), ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
        assert_eq!(problems("1Mi"), ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
    }
}
