//! List: ranges of the store, filtered, in pages.

use super::{Call, continue_token};
use crate::params::{ListOptions, Match, revision};
use crate::resources::Resource;
use crate::selection::Selection;
use crate::server::ApiServer;
use api::status::ApiError;
use std::sync::Arc;
use std::time::Duration;
use storage::{Entry, Range, Revision};

/// How long a list waits for a resource version that the server has not seen yet.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);
/// Why a page cannot be had as it was; the failure carries a token for the rest as it is now.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
/// How many entries are read at once while a filtered page is filled.
const CHUNK: usize = 1000;

/// A list, before it is encoded.
pub struct ListReply {
    pub resource: &'static Resource,
    pub entries: Vec<Arc<Entry>>,
    pub revision: Revision,
    /// Token of the next page; empty on the last.
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl ApiServer {
    pub async fn list(&self, call: &Call<'_>, options: &ListOptions) -> Result<ListReply, ApiError> {
        let resource = call.resource;
        let prefix = resource.scope(call.namespace);
        let selection = Selection::new(resource, options)?;
        let only = selection.only_key(resource, call.namespace).filter(|_| options.continue_token.is_empty());
        if let Some(key) = only {
            return self.list_one(resource, options, &selection, &key).await;
        }
        let (mut at, mut start) = self.position(options, &prefix).await?;
        let mut entries = Vec::new();
        // The oldest way to ask for anything that is there: limits did not exist.
        let page_size = if options.resource_version == "0" { 0 } else { options.limit };
        loop {
            let limit = match page_size {
                0 => 0,
                limit if selection.is_everything() => limit,
                _ => CHUNK,
            };
            let range = Range { prefix: &prefix, start_after: start.as_deref(), limit, at };
            let continued = start.as_deref().filter(|_| !options.continue_token.is_empty());
            let page = self.store.range(range).map_err(|error| self.list_error(error, &prefix, continued))?;
            at = Some(page.revision);
            let last = page.entries.last().map(|entry| entry.key.clone());
            for (index, entry) in page.entries.iter().enumerate() {
                if !selection.is_everything() && !selection.matches(resource, entry) {
                    continue;
                }
                entries.push(entry.clone());
                let more = page.more || index + 1 < page.entries.len();
                if page_size > 0 && entries.len() == page_size && more {
                    let remaining = selection.is_everything().then_some(page.remaining);
                    return Ok(ListReply {
                        resource,
                        continue_token: continue_token::encode(&entry.key, &prefix, page.revision as i64),
                        revision: page.revision,
                        entries,
                        remaining,
                    });
                }
            }
            match last {
                Some(key) if page.more => start = Some(key.to_string()),
                _ => {
                    let revision = page.revision;
                    return Ok(ListReply {
                        resource,
                        entries,
                        revision,
                        continue_token: String::new(),
                        remaining: None,
                    });
                }
            }
        }
    }

    /// A list of the one object that the selectors name. It has no pages, whatever the options say.
    async fn list_one(
        &self,
        resource: &'static Resource,
        options: &ListOptions,
        selection: &Selection,
        key: &str,
    ) -> Result<ListReply, ApiError> {
        let revision = list_revision(options)?;
        let at = (options.version_match == Some(Match::Exact)).then_some(revision);
        self.wait_for(revision).await?;
        // A range, for object and revision have to be of one moment: clients watch from there.
        let range = Range { prefix: key, start_after: None, limit: 1, at };
        let page = self.store.range(range).map_err(|error| self.list_error(error, "", None))?;
        let mut entries = page.entries;
        entries.retain(|entry| *entry.key == *key && selection.matches(resource, entry));
        Ok(ListReply { resource, entries, revision: page.revision, continue_token: String::new(), remaining: None })
    }

    /// The revision to read at and the key to start after.
    async fn position(
        &self,
        options: &ListOptions,
        prefix: &str,
    ) -> Result<(Option<Revision>, Option<String>), ApiError> {
        if !options.continue_token.is_empty() {
            let (start, revision) = continue_token::decode(&options.continue_token, prefix)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            self.wait_for(revision.unwrap_or(0)).await?;
            return Ok((revision, Some(start)));
        }
        let revision = list_revision(options)?;
        // A limit without a match means exactly this version, as it did before there was a match.
        let exact = options.version_match.map_or(options.limit > 0, |m| m == Match::Exact);
        self.wait_for(revision).await?;
        Ok(((exact && revision > 0).then_some(revision), None))
    }

    /// Waits until the server has seen a resource version that a client names.
    pub(super) async fn wait_for(&self, revision: Revision) -> Result<(), ApiError> {
        self.store.wait_for(revision, WAIT_FOR_REVISION).await.map_err(|error| match error {
            storage::Error::FutureRevision { current } => {
                ApiError::timeout(format_args!("Too large resource version: {revision}, current: {current}"))
                    .with_retry_after(1)
                    .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
            }
            other => self.store_error(other),
        })
    }

    fn list_error(&self, error: storage::Error, prefix: &str, start: Option<&str>) -> ApiError {
        match (error, start) {
            (storage::Error::Compacted { .. }, Some(start)) => {
                let mut failure = ApiError::expired(INCONSISTENT);
                failure.continue_token = continue_token::encode(start, prefix, -1);
                failure
            }
            (other, _) => self.store_error(other),
        }
    }
}

fn list_revision(options: &ListOptions) -> Result<Revision, ApiError> {
    revision(&options.resource_version)
        .map_err(|errors| ApiError::bad_request(format!("invalid resource version: {}", errors.0[0])))
}
