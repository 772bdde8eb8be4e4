//! Projected volumes: files from several sources in one directory.

use super::super::path::{Path, child, has, int, list, required_text, text};
use super::options::Options;
use super::volumes::{downward_api_file, file_mode, key_to_path, not_reserved};
use api::Value;
use api::field::Errors;
use std::collections::HashSet;

const SOURCES: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];

/// Checks a projected volume. Sources of features that are off were dropped before.
pub fn validate(source: &Value, options: &Options, path: &Path, errors: &mut Errors) {
    file_mode(source, "defaultMode", path, errors);
    let sources = path.at("sources");
    let mut files = HashSet::new();
    for (i, source) in list(source, "sources").iter().enumerate() {
        let at = sources.index(i);
        for key in ["secret", "configMap"] {
            if let Some(source) = child(source, key) {
                validate_items(source, &at.at(key), path, &mut files, errors);
            }
        }
        if let Some(source) = child(source, "downwardAPI") {
            let at = at.at("downwardAPI");
            for file in list(source, "items") {
                downward_api_file(file, &at, errors);
                let name = text(file, "path");
                if !name.is_empty() && !files.insert(name) {
                    errors.invalid(path, name, "conflicting duplicate paths");
                }
            }
        }
        if let Some(source) = child(source, "serviceAccountToken") {
            validate_token(source, options, &at.at("serviceAccountToken"), path, errors);
        }
        if SOURCES.iter().filter(|key| has(source, key)).count() > 1 {
            errors.forbidden(at, "may not specify more than 1 volume type per source");
        }
    }
}

fn validate_items<'a>(source: &'a Value, at: &Path, volume: &Path, files: &mut HashSet<&'a str>, errors: &mut Errors) {
    required_text(errors, source, at, "name");
    let items = at.at("items");
    for (i, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &items.index(i), errors);
        let file = text(item, "path");
        if !file.is_empty() && !files.insert(file) {
            errors.invalid(volume, text(source, "name"), "conflicting duplicate paths");
        }
    }
}

fn validate_token(source: &Value, options: &Options, at: &Path, volume: &Path, errors: &mut Errors) {
    let expiration = int(source, "expirationSeconds").unwrap_or_default();
    if expiration < 10 * 60 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(at.at("expirationSeconds"), expiration, detail);
    }
    if expiration > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(at.at("expirationSeconds"), expiration, detail);
    }
    let file = text(source, "path");
    if file.is_empty() {
        errors.required(volume.at("path"), "");
    } else if !options.token_paths {
        not_reserved(file, &volume.at("path"), errors);
    }
}
