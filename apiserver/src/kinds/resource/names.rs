//! How drivers, pools, devices and their attributes are called.

use crate::kinds::path::{Path, invalid_each};
use api::field::Errors;
use api::names;

const MAX_IDENTIFIER: usize = 32;
const MAX_POOL: usize = 253;

/// A request, a device, a counter.
pub fn validate_label(name: &str, path: &Path, errors: &mut Errors) {
    invalid_each(errors, path, name, names::dns1123_label(name));
}

/// One or more subdomains, separated by slashes.
pub fn validate_pool(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > MAX_POOL {
        errors.too_long(path, MAX_POOL);
    }
    for part in name.split('/') {
        invalid_each(errors, path, part, names::dns1123_subdomain(part));
    }
}

/// An attribute or a capacity: an identifier, perhaps after a domain and a slash.
pub fn validate_qualified(name: &str, path: &Path, errors: &mut Errors) {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => validate_identifier(name, path, errors),
        (Some(domain), Some(name), None) => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                crate::kinds::csi_driver::validate_driver_name(errors, path, domain);
            }
            if name.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                validate_identifier(name, path, errors);
            }
        }
        _ => {}
    }
}

/// As [`validate_qualified`], with a domain.
pub fn validate_fully_qualified(name: &str, path: &Path, errors: &mut Errors) {
    validate_qualified(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn validate_identifier(name: &str, path: &Path, errors: &mut Errors) {
    if name.len() > MAX_IDENTIFIER {
        errors.too_long(path, MAX_IDENTIFIER);
    }
    invalid_each(errors, path, name, names::c_identifier(name));
}

/// The id of a device's share: a UUID in its usual form.
pub fn validate_share(id: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
        hexadecimal characters";
    if uuid::Uuid::try_parse(id).is_err() {
        let why = match id.len() {
            32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
            length => format!("invalid UUID length: {length}"),
        };
        errors.invalid(path, id, format!("error validating uid: {why}"));
    } else if id.len() != 36 || id.bytes().any(|b| b.is_ascii_uppercase()) {
        errors.invalid(path, id, FORM);
    }
}
