//! Requests for JSON documents over `kube::Client`, which is used only as the transport.
//!
//! Nothing is retried here, except by [`Client::update_with`], which re-reads on conflict.

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::core::Status;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Resource;
pub use crate::failure::*;

pub type Error = kube::Error;
pub type Result<T> = std::result::Result<T, Error>;

const JSON: &str = "application/json";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// How a patch's body is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    Strategic,
}

impl PatchType {
    fn media_type(self) -> &'static str {
        match self {
            PatchType::Json => "application/json-patch+json",
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// What a deletion asks for; every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Deletes only the object with this uid.
    pub fn uid(uid: &str) -> DeleteOptions {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() }
    }
}

/// What a list or watch is limited to.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Items a page; 0 for all in one.
    pub limit: u32,
    pub continue_token: String,
    /// Empty for the most recent.
    pub resource_version: String,
    /// Asks for metadata only (`PartialObjectMetadata`).
    pub metadata_only: bool,
}

impl ListOptions {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        for (key, value) in [
            ("labelSelector", &self.label_selector),
            ("fieldSelector", &self.field_selector),
            ("continue", &self.continue_token),
            ("resourceVersion", &self.resource_version),
        ] {
            if !value.is_empty() {
                query.push((key, value.clone()));
            }
        }
        if self.limit > 0 {
            query.push(("limit", self.limit.to_string()));
        }
        query
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub resource_version: String,
    /// Empty on the last page.
    pub continue_token: String,
    /// How many items the pages after this one have, where the server says so.
    pub remaining: u64,
    /// Items that could not be read as `T`; each is in the log.
    pub unreadable: usize,
}

/// Sends requests as one identity.
#[derive(Clone)]
pub struct Client {
    transport: kube::Client,
    user_agent: header::HeaderValue,
}

impl From<kube::Client> for Client {
    fn from(transport: kube::Client) -> Client {
        Client { transport, user_agent: header::HeaderValue::from_static("coracle") }
    }
}

impl Client {
    /// `user_agent` such as `kube-scheduler`; it shows in audit logs and as the manager of fields.
    pub fn new(transport: kube::Client, user_agent: &'static str) -> Client {
        Client { transport, user_agent: header::HeaderValue::from_static(user_agent) }
    }

    pub async fn get<T: DeserializeOwned>(&self, resource: Resource, namespace: &str, name: &str) -> Result<T> {
        self.call(Method::GET, &object(resource, namespace, name, ""), JSON, None).await
    }

    /// The object's metadata only.
    pub async fn get_metadata(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<crate::meta::PartialObject> {
        self.call(Method::GET, &object(resource, namespace, name, ""), PARTIAL, None).await
    }

    /// One page; see [`ListOptions::limit`]. An item that cannot be read as `T` is logged and left out.
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Page<T>> {
        let accept = if options.metadata_only { PARTIAL_LIST } else { JSON };
        let path = with_query(resource.path(namespace), &options.query());
        let bytes = self.send(Method::GET, &path, accept, None).await?;
        read_page(resource, &bytes)
    }

    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.call(Method::POST, &resource.path(namespace), JSON, encode(JSON, body)?).await
    }

    /// Creates a subresource: `binding`, `eviction`, `token`.
    pub async fn create_subresource<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let path = object(resource, namespace, name, subresource);
        self.call(Method::POST, &path, JSON, encode(JSON, body)?).await
    }

    /// Replaces the object, or its subresource (`status`, `finalize`); an empty `subresource` means the object.
    pub async fn update<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let path = object(resource, namespace, name, subresource);
        self.call(Method::PUT, &path, JSON, encode(JSON, body)?).await
    }

    pub async fn update_status<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.update(resource, namespace, name, "status", body).await
    }

    /// Patches the object, or its subresource; an empty `subresource` means the object.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: PatchType,
        body: &impl Serialize,
    ) -> Result<T> {
        let path = object(resource, namespace, name, subresource);
        self.call(Method::PATCH, &path, JSON, encode(patch.media_type(), body)?).await
    }

    /// Gives the object as it was deleted or is now terminating, or a `Status`.
    pub async fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted> {
        let path = object(resource, namespace, name, "");
        self.call(Method::DELETE, &path, JSON, encode(JSON, &Typed::new(options))?).await
    }

    pub async fn delete_collection(
        &self,
        resource: Resource,
        namespace: &str,
        options: &DeleteOptions,
    ) -> Result<serde::de::IgnoredAny> {
        self.call(Method::DELETE, &resource.path(namespace), JSON, encode(JSON, &Typed::new(options))?).await
    }

    /// Reads the object, lets `change` edit it and writes it back, again after each conflict, at most five times.
    /// `change` gives false when nothing needs writing.
    pub async fn update_with(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        mut change: impl FnMut(&mut serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        let mut tries = 0;
        loop {
            let mut document: serde_json::Value = self.get(resource, namespace, name).await?;
            if !change(&mut document) {
                return Ok(document);
            }
            match self.update(resource, namespace, name, subresource, &document).await {
                Err(error) if is_conflict(&error) && tries < 4 => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Opens a watch that starts after `resource_version`, with bookmarks, and ends after `timeout_seconds`.
    pub async fn watch(
        &self,
        resource: Resource,
        namespace: &str,
        options: &ListOptions,
        timeout_seconds: u64,
    ) -> Result<Lines> {
        let mut query = options.query();
        query.push(("watch", "1".into()));
        query.push(("allowWatchBookmarks", "true".into()));
        query.push(("timeoutSeconds", timeout_seconds.to_string()));
        let accept = if options.metadata_only { PARTIAL } else { JSON };
        let path = with_query(resource.path(namespace), &query);
        let body = self.open(Method::GET, &path, accept, None).await?;
        Ok(Lines { body, buffer: BytesMut::new(), searched: 0 })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<T> {
        let bytes = self.send(method, path, accept, body).await?;
        serde_json::from_slice(&bytes).map_err(Error::SerdeError)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Bytes> {
        self.open(method, path, accept, body).await?.collect_bytes().await
    }

    /// Sends a request; gives the body of a good answer, or the failure's `Status`.
    async fn open(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, self.user_agent.clone());
        let mut bytes = Vec::new();
        if let Some((media_type, content)) = body {
            request = request.header(header::CONTENT_TYPE, media_type);
            bytes = content;
        }
        let request = request.body(Body::from(bytes)).map_err(Error::HttpError)?;
        let response = self.transport.send(request).await?;
        let code = response.status();
        if code.is_success() {
            return Ok(response.into_body());
        }
        let bytes = response.into_body().collect_bytes().await?;
        let status = serde_json::from_slice::<Status>(&bytes).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
            Status { code: code.as_u16(), message: text, reason: code.to_string(), ..Status::default() }
        });
        Err(Error::Api(status.boxed()))
    }
}

/// Delete options with the type that they have on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    options: &'a DeleteOptions,
}

impl Typed<'_> {
    fn new(options: &DeleteOptions) -> Typed<'_> {
        Typed { api_version: "v1", kind: "DeleteOptions", options }
    }
}

/// The answer to a deletion: the object, or a `Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deleted {
    kind: String,
    metadata: crate::Meta,
}

impl Deleted {
    /// The object, unless the answer was a `Status`: gone, if it has no deletion timestamp or its grace period is 0.
    pub fn object(&self) -> Option<&crate::Meta> {
        (self.kind != "Status").then_some(&self.metadata)
    }
}

/// The lines of a watch, as they arrive.
pub struct Lines {
    body: Body,
    buffer: BytesMut,
    searched: usize,
}

/// The longest event that is read: etcd's and our own request limit, with room for the encoding.
const MAX_LINE: usize = 16 << 20;

impl Lines {
    /// The next line, without its end; `None` when the server closed the watch.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(Error::LinesCodecMaxLineLengthExceeded);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }
}

fn read_page<T: DeserializeOwned>(resource: Resource, bytes: &[u8]) -> Result<Page<T>> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct ListMeta {
        resource_version: String,
        #[serde(rename = "continue")]
        continue_token: String,
        remaining_item_count: u64,
    }
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default)]
        metadata: ListMeta,
        #[serde(borrow)]
        items: Option<Vec<&'a RawValue>>,
    }
    let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(Error::SerdeError)?;
    let documents = raw.items.unwrap_or_default();
    let mut items = Vec::with_capacity(documents.len());
    let mut unreadable = 0;
    for document in documents {
        match serde_json::from_str(document.get()) {
            Ok(item) => items.push(item),
            Err(error) => {
                unreadable += 1;
                tracing::error!(%resource, %error, "an object of a list cannot be read; it is left out");
            }
        }
    }
    let ListMeta { resource_version, continue_token, remaining_item_count: remaining } = raw.metadata;
    Ok(Page { items, resource_version, continue_token, remaining, unreadable })
}

fn encode(media_type: &'static str, body: &impl Serialize) -> Result<Option<(&'static str, Vec<u8>)>> {
    Ok(Some((media_type, serde_json::to_vec(body).map_err(Error::SerdeError)?)))
}

fn object(resource: Resource, namespace: &str, name: &str, subresource: &str) -> String {
    let mut path = resource.path(namespace);
    path.push('/');
    escape(&mut path, name);
    if !subresource.is_empty() {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

fn with_query(mut path: String, query: &[(&'static str, String)]) -> String {
    for (index, (key, value)) in query.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        escape(&mut path, value);
    }
    path
}

/// Percent-encodes everything but what RFC 3986 leaves alone, and the colon of RBAC names.
fn escape(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(byte as char);
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PODS;

    #[test]
    fn queries_are_escaped() {
        let options = ListOptions { label_selector: "a in (b,c)".into(), limit: 5, ..ListOptions::default() };
        assert_eq!(
            with_query(PODS.path(""), &options.query()),
            "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&limit=5"
        );
        assert_eq!(object(PODS, "n", "a:b", "status"), "/api/v1/namespaces/n/pods/a:b/status");
    }

    #[test]
    fn an_unreadable_item_is_left_out() {
        let page: Page<crate::PartialObject> = read_page(
            PODS,
            br#"{"metadata":{"resourceVersion":"9","continue":"x"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":7}}]}"#,
        )
        .unwrap();
        assert_eq!((page.items.len(), page.unreadable), (1, 1));
        assert_eq!((page.resource_version.as_str(), page.continue_token.as_str()), ("9", "x"));
    }
}
