//! StorageClasses, as claims and volumes name them and as the default one is marked.

use crate::document;
use serde_json::Value;

/// Where the class was named before it had a field.
pub const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The class of a claim or a volume; the old annotation comes before the field. Empty where neither names one.
pub fn name_of(object: &Value) -> &str {
    document::annotation(object, ANNOTATION).unwrap_or_else(|| document::get_str(object, "spec.storageClassName"))
}

/// Whether a class is marked as that of claims that name none.
pub fn is_default(class: &Value) -> bool {
    DEFAULT.iter().any(|key| document::annotation(class, key) == Some("true"))
}
