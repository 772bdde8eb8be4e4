//! How values are kept outside this process.

use bytes::Bytes;

/// Where a value belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The store's key.
    pub key: &'a str,
    /// The whole key under which it is kept: in etcd with another prefix, another one. Who has the value moved to another place
    /// must be able to notice.
    pub kept_at: &'a str,
}

impl<'a> From<&'a str> for Place<'a> {
    /// Kept under the store's own key.
    fn from(key: &'a str) -> Place<'a> {
        Place { key, kept_at: key }
    }
}

/// Turns values into what a store keeps of them (on the disk, in etcd) and back: encryption, other encodings. In memory a
/// store always holds the values themselves. Both directions may block for a short time (a key service), seldom.
pub trait Codec: Send + Sync + 'static {
    /// What to keep in place of `value`; `None`: the value itself. The value is without its revision. An error is the reason why
    /// it cannot be kept; it reaches the client.
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String>;

    /// Whether values of `key` are kept in another form.
    fn seals(&self, key: &str) -> bool;

    /// The value of which `kept` was made, by this program or another; the reason if that cannot be told.
    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Opened, String>;

    /// For a value of `key` that was kept as it is: whether it would be kept in another form now; the reason if it is not to be
    /// taken for the value.
    fn open_as_is(&self, key: &str) -> Result<bool, String> {
        Ok(self.seals(key))
    }
}

/// A value that was read.
#[derive(Clone)]
pub struct Opened {
    /// The bytes, without the revision.
    pub value: Bytes,
    /// The offset in `value` at which the revision is to be inserted.
    pub revision_at: Option<usize>,
    /// Whether it would be kept in another form if it were written now: with another key, in another encoding.
    pub stale: bool,
}
