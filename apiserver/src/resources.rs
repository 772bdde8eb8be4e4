//! What the server serves: each row of KINDS joined with its rules and its schema.

use crate::kinds::{self, Rules};
use api::Value;
use api::document;
use api::kinds::{KINDS, Kind};
use api::managed::{Convert, Versions};
use api::schema::{Schema, TypeRef};
use api::status::ApiError;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A resource in one version, ready to be served.
pub struct Resource {
    pub kind: &'static Kind,
    pub rules: &'static dyn Rules,
    /// Where its objects stand in the store; ends with a slash.
    pub prefix: String,
    /// Its type in the schema.
    pub ty: TypeRef<'static>,
    pub api_version: String,
    /// How documents change between this version and the one that is stored; `None` where they are the same.
    pub conversion: Option<&'static Conversion>,
    pub has_status: bool,
}

/// A pair of pure functions between a served shape and the stored one, which is of another group or version.
pub struct Conversion {
    pub stored_group: &'static str,
    pub stored_version: &'static str,
    pub to_stored: fn(Value) -> Value,
    pub from_stored: fn(Value) -> Value,
}

/// The 500 for stored bytes that are no object.
pub fn unreadable(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("stored object cannot be read: {error}"))
}

/// A document that was converted, as the type it has now writes it.
fn canonical(object: Value, ty: TypeRef<'_>) -> Value {
    let mut object = match api::codec::check(object.clone(), ty) {
        Ok(decoded) => decoded.value,
        Err(_) => object,
    };
    api::schema::settle(&mut object, ty);
    api::schema::fill(&mut object, ty);
    object
}

impl Resource {
    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.kind.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// The store's prefix of a namespace's objects, or of all of them where `namespace` is empty.
    pub fn scope(&self, namespace: &str) -> String {
        if self.kind.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/", self.prefix)
        } else {
            self.prefix.clone()
        }
    }

    /// Namespace and name from a store key under this resource's prefix.
    pub fn split_key<'k>(&self, key: &'k str) -> (&'k str, &'k str) {
        let rest = key.strip_prefix(self.prefix.as_str()).unwrap_or(key);
        if self.kind.namespaced { rest.split_once('/').unwrap_or(("", rest)) } else { ("", rest) }
    }

    /// The defaults of a new or changed object: the schema's, then the kind's.
    pub fn default(&self, object: &mut Value) {
        api::schema::default(object, self.ty);
        self.rules.default(object);
    }

    /// Brings an object to the form it is stored in: the schema's defaults, the kind's, and the zeros that Go writes.
    pub fn complete(&self, object: &mut Value) {
        self.default(object);
        self.through_store(object);
        api::schema::fill(object, self.ty);
    }

    /// Makes of a checked object what comes back from upstream's store: without the lists and maps that were sent empty, and
    /// with the defaults of what is missing then, and of what the server has put in.
    pub fn settle(&self, object: &mut Value) {
        self.rules.inherit(object);
        if api::schema::settle(object, self.ty) {
            self.default(object);
        }
    }

    /// The object as this version shows it, from stored bytes.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        Ok(self.of_stored(serde_json::from_slice(bytes).map_err(unreadable)?))
    }

    /// As [`Resource::read`], without the managed fields: they are half of many an object, and few look at them.
    pub fn read_unmanaged(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        Ok(self.of_stored(document::omit(bytes, &["metadata.managedFields"]).map_err(unreadable)?))
    }

    /// The object as this version shows it, from the shape that is stored.
    fn of_stored(&self, stored: Value) -> Value {
        match self.conversion {
            Some(conversion) => canonical((conversion.from_stored)(stored), self.ty),
            None => stored,
        }
    }

    /// Whether the metadata alone is shown as it is stored.
    pub fn keeps_metadata(&self) -> bool {
        self.conversion.is_none() && self.rules.version_annotations().is_empty()
    }

    /// The object in the shape that is stored.
    pub fn to_stored(&self, object: &Value) -> Value {
        let Some(conversion) = self.conversion else { return object.clone() };
        let stored = (conversion.to_stored)(object.clone());
        match Schema::of_kind(conversion.stored_group, conversion.stored_version, self.kind.kind) {
            Some(ty) => canonical(stored, ty),
            None => stored,
        }
    }

    /// Leaves of an object what the store's shape can hold.
    pub fn through_store(&self, object: &mut Value) {
        if self.conversion.is_some() {
            *object = self.of_stored(self.to_stored(object));
        }
    }

    /// Its versions, for managed fields.
    pub fn versions(&self) -> Versions<'_> {
        Versions { ty: self.ty, convert: self }
    }

    /// The group that messages about an object name: the one that it is stored in.
    pub fn stored_group(&self) -> &'static str {
        self.conversion.map_or(self.kind.group, |conversion| conversion.stored_group)
    }
}

impl Convert for Resource {
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        let version = |api_version: &str| {
            let (group, version) = document::split_version(api_version);
            let kind = api::kinds::find_kind(group, version, self.kind.kind)?;
            find(kind.group, kind.version, kind.resource).filter(|version| version.prefix == self.prefix)
        };
        let (from, to) = (version(from)?, version(to)?);
        Some(to.of_stored(from.to_stored(object)))
    }
}

/// A resource with its group, version and plural.
type Table<'a> = HashMap<(&'a str, &'a str, &'a str), Resource>;

fn table() -> &'static Table<'static> {
    static TABLE: OnceLock<Table<'static>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows = KINDS.iter().filter_map(|kind| Some(((kind.group, kind.version, kind.resource), resource(kind)?)));
        rows.collect()
    })
}

/// `None` for a kind without a schema; a test makes sure that there is none.
fn resource(kind: &'static Kind) -> Option<Resource> {
    let ty = Schema::of_kind(kind.group, kind.version, kind.kind)?;
    Some(Resource {
        kind,
        rules: kinds::rules(kind.group, kind.kind),
        prefix: kind.store_prefix(),
        ty,
        api_version: kind.api_version(),
        conversion: kinds::conversion(kind.group, kind.version, kind.kind),
        has_status: kind.subresource("status").is_some(),
    })
}

/// The resource at a group, version and plural name.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Resource> {
    // The map's keys live for ever, the question's do not; a row can be compared with both.
    let kind = api::kinds::find(group, version, resource)?;
    table().get(&(kind.group, kind.version, kind.resource))
}

/// The resource of an object, in the object's own version.
pub fn of(object: &Value) -> Option<&'static Resource> {
    let (group, version) = document::group_version(object);
    let kind = api::kinds::find_kind(group, version, document::get_str(object, "kind"))?;
    find(kind.group, kind.version, kind.resource)
}

/// A core or built-in resource that the server itself works with: one of KINDS, in its first version there.
pub fn builtin(group: &'static str, resource: &'static str) -> &'static Resource {
    let kind = KINDS.iter().find(|k| k.resource == resource && k.group == group).unwrap_or(&KINDS[0]);
    debug_assert_eq!(kind.resource, resource, "not in KINDS");
    &table()[&(kind.group, kind.version, kind.resource)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_served() {
        for kind in KINDS {
            assert!(find(kind.group, kind.version, kind.resource).is_some(), "{} has no schema", kind.type_name());
        }
    }
}
