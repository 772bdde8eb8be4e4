//! Encryption as a store's codec, around the form in which values are written.

use super::Encryption;
use bytes::Bytes;
use std::sync::Arc;
use storage::{Codec, Opened, Place};

/// Encrypts what another codec has made of values.
pub struct Sealed {
    encryption: Arc<Encryption>,
    form: Arc<dyn Codec>,
}

impl Sealed {
    pub fn new(encryption: Arc<Encryption>, form: Arc<dyn Codec>) -> Sealed {
        Sealed { encryption, form }
    }
}

impl Codec for Sealed {
    fn seal(&self, place: Place<'_>, value: &Bytes) -> Result<Option<Bytes>, String> {
        let formed = self.form.seal(place, value)?;
        let sealed = self.encryption.seal(place, formed.as_ref().unwrap_or(value))?;
        Ok(sealed.or(formed))
    }

    fn seals(&self, key: &str) -> bool {
        self.encryption.seals(key) || self.form.seals(key)
    }

    fn open(&self, place: Place<'_>, kept: &Bytes) -> Result<Opened, String> {
        let unsealed = self.encryption.open(place, kept)?;
        let opened = self.form.open(place, &unsealed.value)?;
        Ok(Opened { stale: opened.stale || unsealed.stale, ..opened })
    }

    fn open_as_is(&self, key: &str) -> Result<bool, String> {
        let stale = self.encryption.open_as_is(key)?;
        Ok(stale || self.form.open_as_is(key)?)
    }
}
