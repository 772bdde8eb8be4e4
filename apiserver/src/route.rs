//! What a request is about: its path and method as verb, resource, namespace and name.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/request.RequestInfoFactory`.

use api::selector::FieldSelector;
use http::Method;

/// A request's target. For paths that are no resource, only `path` and `verb` (the lower-cased method) are set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    pub path: String,
    pub is_resource: bool,
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// Whether the path ends at a collection; a list or watch of one name by field selector has a name all the same.
    pub collection: bool,
    /// What follows the subresource in the path (`proxy` targets), without a leading slash.
    pub rest: String,
}

/// Subresources of a namespace; any other second part is a resource inside it.
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

impl Route {
    /// Splits a percent-decoded path. `query` decides between list and watch.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Route {
        let mut route = Route { path: path.to_owned(), verb: method_verb(method), ..Route::default() };
        let path = path.strip_prefix('/').unwrap_or(path);
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let mut parts = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                route.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                route.group = (*group).to_owned();
                route.version = (*version).to_owned();
                rest
            }
            _ => return route,
        };
        route.is_resource = true;
        let old_watch = parts.len() > 1 && parts[0] == "watch";
        if old_watch {
            parts = &parts[1..];
        }
        if let ["namespaces", name, rest @ ..] = parts {
            route.namespace = (*name).to_owned();
            if rest.first().is_some_and(|part| !NAMESPACE_SUBRESOURCES.contains(part)) {
                parts = rest;
            }
        }
        route.resource = parts[0].to_owned();
        route.name = parts.get(1).map(|p| (*p).to_owned()).unwrap_or_default();
        route.subresource = parts.get(2).map(|p| (*p).to_owned()).unwrap_or_default();
        route.rest = parts.get(3..).map(|p| p.join("/")).unwrap_or_default();
        route.set_verb(method, query, old_watch);
        route
    }

    fn set_verb(&mut self, method: &Method, query: &Query, old_watch: bool) {
        let collection = self.name.is_empty();
        self.collection = collection;
        self.verb = match *method {
            Method::GET | Method::HEAD if old_watch => "watch",
            _ if old_watch => "",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if collection => "deletecollection",
            Method::DELETE => "delete",
            Method::GET | Method::HEAD if collection && query.flag("watch") => "watch",
            Method::GET | Method::HEAD if collection => "list",
            Method::GET | Method::HEAD => "get",
            _ => "",
        };
        // A list or watch of one name by field selector counts as being about that name, so that RBAC can allow it.
        if collection && matches!(self.verb, "list" | "watch") {
            let selector = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default()).unwrap_or_default();
            let name = selector.exact_value("metadata.name").unwrap_or_default();
            if !matches!(name, "." | "..") && !name.contains(['/', '%']) {
                self.name = name.to_owned();
            }
        }
    }

    /// True for watches and streams, which have no deadline of their own and take no seat in the queue.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch" || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// A decoded query string; keys may repeat.
#[derive(Debug, Default, Clone)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// As Go parses one: a pair with a semicolon or a broken escape counts as not sent.
    pub fn parse(query: Option<&str>) -> Query {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let decoded = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(key, true)?, unescape(value, true)?))
        });
        Query(decoded.collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a boolean parameter is on: present and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// Decodes `%XX`; a text with a broken escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    unescape(text, false).unwrap_or_else(|| text.to_owned())
}

/// Decodes `%XX`, and `plus` as a space; `None` if an escape is broken.
fn unescape(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
                out.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, path: &str, query: &str) -> Route {
        Route::parse(&method, path, &Query::parse(Some(query)))
    }

    #[test]
    fn resources_in_and_outside_namespaces() {
        let route = parse(Method::GET, "/api/v1/namespaces/a/pods/b/log", "");
        assert_eq!((route.namespace.as_str(), route.resource.as_str(), route.name.as_str()), ("a", "pods", "b"));
        assert_eq!((route.subresource.as_str(), route.verb), ("log", "get"));
        let route = parse(Method::PUT, "/api/v1/namespaces/a/finalize", "");
        assert_eq!(
            (route.resource.as_str(), route.name.as_str(), route.subresource.as_str()),
            ("namespaces", "a", "finalize")
        );
        let route = parse(Method::DELETE, "/apis/apps/v1/deployments", "");
        assert_eq!((route.group.as_str(), route.verb), ("apps", "deletecollection"));
    }

    #[test]
    fn a_watch_is_a_list_with_a_flag() {
        assert_eq!(parse(Method::GET, "/api/v1/pods", "watch=true").verb, "watch");
        assert_eq!(parse(Method::GET, "/api/v1/pods", "watch=0").verb, "list");
        assert_eq!(parse(Method::GET, "/api/v1/watch/pods", "").verb, "watch");
        let one = parse(Method::GET, "/api/v1/pods", "fieldSelector=metadata.name%3Dx&watch=1");
        assert_eq!((one.verb, one.name.as_str()), ("watch", "x"));
        let both = parse(Method::GET, "/api/v1/pods", "fieldSelector=spec.nodeName%3Dn,metadata.name%3Dx");
        assert_eq!((both.verb, both.name.as_str()), ("list", "x"));
    }

    #[test]
    fn what_names_an_object_is_no_watch_of_others() {
        let one = parse(Method::GET, "/api/v1/namespaces/a/secrets/b", "watch=1&fieldSelector=metadata.name!%3Db");
        assert_eq!((one.verb, one.name.as_str()), ("get", "b"));
        assert_eq!(parse(Method::PUT, "/api/v1/watch/namespaces/a/pods/b", "").verb, "");
    }

    #[test]
    fn only_two_hexadecimal_digits_are_an_escape() {
        assert_eq!(percent_decode("a%2Fb+"), "a/b+");
        for broken in ["a%2Fb%+f", "%f", "%2"] {
            assert_eq!(percent_decode(broken), broken);
        }
        let query = Query::parse(Some("a=%&b;c=1&d=+x%20"));
        assert_eq!((query.get("a"), query.get("b;c"), query.get("d")), (None, None, Some(" x ")));
    }

    #[test]
    fn other_paths_are_not_resources() {
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/metrics"] {
            assert!(!parse(Method::GET, path, "").is_resource, "{path}");
        }
    }
}
