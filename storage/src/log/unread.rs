//! Values that cannot be read when a log is opened: under a key that is no longer given, or in clear where that is not admitted.
//!
//! What came later may have taken their place: whoever replaces a key writes all values again and takes the old key away, and
//! the log still holds what was there before. So recovery goes on, and the log is refused only if one of them is still what its
//! key holds. What was before the last of them that was replaced can no longer be watched or listed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::OpenError;
use super::record::Kept;
use crate::{Codec, Entry, Revision};

/// Where a value stands, and why it cannot be read.
struct Place {
    path: PathBuf,
    offset: u64,
    reason: String,
}

/// The values that could not be read so far.
#[derive(Default)]
pub(super) struct Unread {
    values: HashMap<Arc<str>, Place>,
    /// When the last of them that are gone was replaced.
    replaced: Option<Revision>,
}

impl Unread {
    /// The entry of `key`; where it cannot be read, one that stands for it until something takes its place. `place` is the file and
    /// the offset in it.
    pub(super) fn entry(
        &mut self,
        key: Arc<str>,
        kept: Kept,
        codec: Option<&dyn Codec>,
        place: impl FnOnce() -> (PathBuf, u64),
    ) -> Entry {
        match kept.clone().entry(key.clone(), codec) {
            Ok(entry) => {
                self.replace(&key, entry.revision);
                entry
            }
            Err(reason) => {
                let (path, offset) = place();
                self.values.insert(key.clone(), Place { path, offset, reason });
                kept.unread(key)
            }
        }
    }

    /// The key holds something else since `revision`, or nothing.
    pub(super) fn replace(&mut self, key: &str, revision: Revision) {
        if self.values.remove(key).is_some() {
            self.replaced = self.replaced.max(Some(revision));
        }
    }

    /// The revision before which the history is not whole, if there is one; an error if a value is missing now.
    pub(super) fn finish(self) -> Result<Option<Revision>, OpenError> {
        let first = self.values.into_values().min_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
        match first {
            Some(Place { path, offset, reason }) => Err(OpenError::Unreadable { path, offset, reason }),
            None => Ok(self.replaced),
        }
    }
}
