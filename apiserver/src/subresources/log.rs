//! `pods/log`: what a container printed, from the kubelet of its node.

use crate::kubelet;
use crate::params::integer;
use crate::request::{Incoming, wanted_without_table};
use crate::resources::{self, Resource};
use crate::response::{self, Body};
use crate::route::Query;
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::document;
use api::field::Errors;
use api::status::ApiError;
use http::Response;

pub async fn get(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: Incoming,
) -> Result<Response<Body>, ApiError> {
    wanted_without_table(&incoming)?;
    let call = verbs::reading(server, resource, &incoming);
    let options = options(&incoming.query, call.name)?;
    let pod = server.read(&call)?.into_value(resource)?;
    let container = container(&pod, incoming.query.get("container").unwrap_or_default())?;
    let node_name = document::get_str(&pod, "spec.nodeName");
    if node_name.is_empty() {
        // Nothing has run yet, and so nothing was printed.
        return Ok(response::no_content());
    }
    let nodes = resources::builtin("", "nodes");
    let found = server.store.get(&nodes.key("", node_name)).map_err(|e| server.store_error(e))?;
    let node = match found {
        Some(entry) => nodes.read(&entry.value)?,
        // Upstream names the resource that was asked for.
        None => return Err(ApiError::not_found(resource.kind, node_name)),
    };
    let path = format!("/containerLogs/{}/{}/{container}?{options}", call.namespace, call.name);
    kubelet::get(server, &node, &path).await
}

/// Checks `PodLogOptions` as they stand in the query, and gives them as the kubelet is asked.
fn options(query: &Query, pod: &str) -> Result<String, ApiError> {
    let [since, tail, limit] = ["sinceSeconds", "tailLines", "limitBytes"].map(|key| integer(query, key));
    let (since, since_time) = (since?, query.get("sinceTime").filter(|time| !matches!(*time, "" | "null")));
    let since_time = since_time.map(api::time::canonical).transpose().map_err(ApiError::bad_request)?;
    let (tail, limit) = (tail?, limit?);
    let mut errors = Errors::new();
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        errors.invalid("tailLines", tail, "must be greater than or equal to 0");
    }
    for (key, number) in [("limitBytes", limit), ("sinceSeconds", since.filter(|_| since_time.is_none()))] {
        if let Some(number) = number.filter(|number| *number < 1) {
            errors.invalid(key, number, "must be greater than 0");
        }
    }
    if since.is_some() && since_time.is_some() {
        errors.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    // Of a feature that is not on by default (KEP-3288).
    if query.get("stream").is_some() {
        errors.forbidden("stream", "may not be specified");
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", pod, &errors));
    }
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    let flag = |key| query.flag(key).then(|| "true".to_owned());
    let passed = [
        ("follow", flag("follow")),
        ("previous", flag("previous")),
        ("timestamps", flag("timestamps")),
        ("sinceSeconds", number(since)),
        ("sinceTime", since_time),
        ("tailLines", number(tail)),
        ("limitBytes", number(limit)),
    ];
    let passed = passed.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", kubelet::escape(&value?))));
    Ok(passed.collect::<Vec<_>>().join("&"))
}

/// The container that is meant; a pod of one container need not name it.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<String> {
        document::get_list(pod, list).iter().map(|c| document::get_str(c, "name").to_owned()).collect()
    };
    let (containers, init, ephemeral) =
        (names("spec.containers"), names("spec.initContainers"), names("spec.ephemeralContainers"));
    let pod_name = document::name(pod);
    if asked.is_empty() {
        return match containers.as_slice() {
            [only] if init.is_empty() && ephemeral.is_empty() => Ok(only.clone()),
            [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {pod_name}"))),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    containers.join(" ")
                );
                if !init.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                if !ephemeral.is_empty() {
                    message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
                }
                Err(ApiError::bad_request(message))
            }
        };
    }
    if [&containers, &init, &ephemeral].iter().any(|names| names.iter().any(|name| name == asked)) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<String, String> {
        options(&Query::parse(Some(query)), "p").map_err(|failure| failure.message.clone())
    }

    #[test]
    fn the_kubelet_is_asked_for_what_was_meant() {
        assert_eq!(asked("").unwrap(), "");
        let query = "follow=1&previous=false&tailLines=5&limitBytes=7&sinceTime=2026-01-01T00:00:00Z&unknown=x";
        let passed = "follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5&limitBytes=7";
        assert_eq!(asked(query).unwrap(), passed);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (query, why) in [
            ("tailLines=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "tailLines=-1",
                "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "sinceSeconds=0",
                "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
            ),
            ("stream=All", "PodLogOptions \"p\" is invalid: stream: Forbidden: may not be specified"),
        ] {
            assert_eq!(asked(query).unwrap_err(), why, "{query}");
        }
        assert!(asked("sinceTime=x").unwrap_err().starts_with("parsing time \"x\""));
    }
}
