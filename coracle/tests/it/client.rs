//! Raw requests, their answers, and watches with a deadline.

use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long anything may take before the test has failed.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Client {
    client: kube::Client,
    /// Sent with every request.
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(client: kube::Client) -> Client {
        Client { client, headers: Vec::new() }
    }

    /// The same client with one more header in all its requests.
    pub fn with(&self, name: &str, value: &str) -> Client {
        let mut other = self.clone();
        other.headers.push((name.to_owned(), value.to_owned()));
        other
    }

    /// The same client, acting as a user.
    pub fn acting_as(&self, user: &str) -> Client {
        self.with("impersonate-user", user)
    }

    /// A client over HTTPS, as `user` of a kubeconfig says (`{"token": ...}`; `{}` is nobody).
    pub async fn https(cluster: &coracle::Cluster, user: Value) -> Client {
        use base64::Engine;
        let ca = base64::engine::general_purpose::STANDARD.encode(cluster.pki().ca_pem());
        let kubeconfig = json!({
            "clusters": [{ "name": "c", "cluster": {
                "server": cluster.url(), "certificate-authority-data": ca,
            } }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        let kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        Client::new(kube::Client::try_from(config).expect("a client"))
    }

    async fn start(&self, mut request: Request<Body>) -> http::Response<Body> {
        let what = format!("{} {}", request.method(), request.uri());
        for (name, value) in &self.headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(name, value.parse().expect("a header"));
        }
        let answer = tokio::time::timeout(DEADLINE, self.client.send(request)).await;
        answer.unwrap_or_else(|_| panic!("{what}: no answer")).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Any request, with these headers.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.start(request.body(Body::from(body.into())).expect("a request")).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap_or_else(|error| panic!("{method} {path}: {error}")).to_bytes();
        Answer {
            what: format!("{method} {path}"),
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes: bytes.into(),
        }
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", accept)], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    /// `kind` is `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        let media_type = format!("application/{kind}-patch+json");
        self.send(Method::PATCH, path, &[("content-type", &media_type)], patch.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// A deletion with `DeleteOptions`.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.json(Method::DELETE, path, options).await
    }

    /// Starts a watch; `query` follows `watch=1`.
    pub async fn watch(&self, path: &str, query: &str) -> Watch {
        self.watch_as(path, query, "application/json").await
    }

    pub async fn watch_as(&self, path: &str, query: &str, accept: &str) -> Watch {
        let uri = format!("{path}?watch=1&{query}");
        let request = Request::get(&uri).header("accept", accept).body(Body::empty()).expect("a request");
        let response = self.start(request).await;
        assert_eq!(response.status(), 200, "{uri}");
        Watch { what: uri, body: response.into_body(), partial: Vec::new(), events: VecDeque::new() }
    }

    /// Follows a collection until what it holds, by name, is as `reached` wants it; gives that.
    pub async fn until_all(
        &self,
        path: &str,
        query: &str,
        mut reached: impl FnMut(&BTreeMap<String, Value>) -> bool,
    ) -> BTreeMap<String, Value> {
        let state = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = self.watch(path, &format!("{state}&{query}")).await;
        let mut objects = BTreeMap::new();
        let follow = async {
            let mut synced = false;
            loop {
                let event = watch.next().await;
                let object = event["object"].clone();
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                match event["type"].as_str() {
                    Some("BOOKMARK") => synced = true,
                    Some("DELETED") => drop(objects.remove(&name)),
                    Some("ADDED" | "MODIFIED") => drop(objects.insert(name, object)),
                    _ => panic!("{path}: {event}"),
                }
                if synced && reached(&objects) {
                    return;
                }
            }
        };
        if tokio::time::timeout(DEADLINE, follow).await.is_err() {
            panic!("{path}?{query} did not come to what was awaited: {}", json!(objects));
        }
        objects
    }

    /// Follows one object (`PATH/NAME`) until `reached`; gives it as it is then.
    pub async fn until(&self, path: &str, mut reached: impl FnMut(&Value) -> bool) -> Value {
        let (collection, name) = path.rsplit_once('/').expect("a path with a name");
        let one = format!("fieldSelector=metadata.name%3D{name}");
        let mut found = self.until_all(collection, &one, |all| all.get(name).is_some_and(&mut reached)).await;
        found.remove(name).expect("it was reached")
    }

    /// Waits until there is no such object.
    pub async fn until_gone(&self, path: &str) {
        let (collection, name) = path.rsplit_once('/').expect("a path with a name");
        self.until_all(collection, &format!("fieldSelector=metadata.name%3D{name}"), BTreeMap::is_empty).await;
    }

    /// Repeats a GET until its answer has this code: for what the server itself follows asynchronously (RBAC).
    pub async fn until_code(&self, path: &str, code: u16) -> Answer {
        let mut turn = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..DEADLINE.as_millis() / 10 {
            turn.tick().await;
            let answer = self.get(path).await;
            if answer.code == code {
                return answer;
            }
        }
        panic!("GET {path} never answered {code}")
    }
}

pub struct Answer {
    what: String,
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn media_type(&self) -> &str {
        self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.text))
    }

    /// The body of a 2xx.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} answered {}: {}", self.what, self.code, self.text);
        self.json()
    }

    /// The body of an answer with exactly this code; a failure's must be a whole `Status`.
    #[track_caller]
    pub fn is(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{} answered {}", self.what, self.text);
        let body = self.json();
        if code >= 400 {
            let whole = body["kind"] == "Status" && body["apiVersion"] == "v1" && body["status"] == "Failure";
            assert!(whole && body["code"] == code, "{}: {body}", self.what);
        }
        body
    }

    /// A failure with this code, reason and message.
    #[track_caller]
    pub fn fails(self, code: u16, reason: &str, message: &str) -> Value {
        let body = self.is(code);
        assert_eq!(body["message"], message);
        assert_eq!(body["reason"], reason);
        body
    }

    /// A failure with this code whose message has this part.
    #[track_caller]
    pub fn fails_with(self, code: u16, part: &str) -> Value {
        let body = self.is(code);
        assert!(body["message"].as_str().is_some_and(|message| message.contains(part)), "{}", body["message"]);
        body
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

/// A stream of watch events.
pub struct Watch {
    what: String,
    body: Body,
    partial: Vec<u8>,
    events: VecDeque<Value>,
}

impl Watch {
    /// The next event, or `None` when the server has ended the watch.
    pub async fn next_or_end(&mut self) -> Option<Value> {
        while self.events.is_empty() {
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{}: no event", self.what))?;
            let data = frame.ok()?.into_data().ok()?;
            self.partial.extend_from_slice(&data);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                self.events.push_back(serde_json::from_slice(&line).expect("a JSON event"));
            }
        }
        self.events.pop_front()
    }

    /// The next event of a watch in protobuf, with the length before it.
    pub async fn next_frame(&mut self) -> Vec<u8> {
        loop {
            if let Some((length, rest)) = self.partial.split_first_chunk()
                && let length = u32::from_be_bytes(*length) as usize
                && rest.len() >= length
            {
                return self.partial.drain(..4 + length).collect();
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await;
            let frame =
                frame.unwrap_or_else(|_| panic!("{}: no event", self.what)).expect("an event").expect("a frame");
            self.partial.extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    pub async fn next(&mut self) -> Value {
        self.next_or_end().await.unwrap_or_else(|| panic!("{} ended", self.what))
    }

    /// The next event's type and its object's name, as `ADDED web`.
    pub async fn next_named(&mut self) -> String {
        let event = self.next().await;
        format!("{} {}", event["type"].as_str().unwrap_or("?"), name(&event["object"]))
    }
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// The names of a list's items, in its order.
pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("a list").iter().map(name).collect()
}
