//! Query parameters and option bodies: `ListOptions`, `DeleteOptions`, dry run, field validation.

use crate::route::Query;
use api::Value;
use api::document;
use api::field::{Errors, quote};
use api::selector::{FieldSelector, Selector};
use api::status::ApiError;
use std::num::IntErrorKind;
use storage::Revision;

/// How a list's resource version is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    NotOlderThan,
}

#[derive(Debug, Default, Clone)]
pub struct ListOptions {
    pub labels: Option<Selector>,
    pub fields: FieldSelector,
    /// Zero for no limit.
    pub limit: usize,
    pub continue_token: String,
    /// As it was sent: which of its values are wrong depends on what is done with it. See [`revision`].
    pub resource_version: String,
    pub version_match: Option<Match>,
    pub timeout_seconds: Option<i64>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// From the query of a list, a watch (`watch`) or a deletion of a collection.
    pub fn parse(query: &Query, watch: bool) -> Result<ListOptions, ApiError> {
        let text = |key: &str| query.get(key).unwrap_or_default();
        let timeout_seconds = integer(query, "timeoutSeconds")?;
        // A limit below zero is none.
        let limit = integer(query, "limit")?.and_then(|limit| usize::try_from(limit).ok());
        let labels = match text("labelSelector") {
            "" => None,
            selector => Some(Selector::parse(selector).map_err(ApiError::bad_request)?),
        };
        let mut options = ListOptions {
            labels,
            fields: FieldSelector::parse(text("fieldSelector")).map_err(ApiError::bad_request)?,
            limit: limit.unwrap_or(0),
            continue_token: text("continue").to_owned(),
            resource_version: text("resourceVersion").to_owned(),
            version_match: None,
            timeout_seconds,
            allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        let mut errors = Errors::new();
        let wanted = text("resourceVersionMatch");
        options.version_match = match wanted {
            "Exact" => Some(Match::Exact),
            "NotOlderThan" => Some(Match::NotOlderThan),
            _ => None,
        };
        match watch {
            true => options.validate_watch(wanted, &mut errors),
            false => options.validate_list(wanted, &mut errors),
        }
        if errors.is_empty() { Ok(options) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
    }

    /// What may be combined in a list, as `ValidateListOptions` has it.
    fn validate_list(&self, wanted: &str, errors: &mut Errors) {
        if !wanted.is_empty() {
            if self.resource_version.is_empty() {
                errors.forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.continue_token.is_empty() {
                errors.forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
            }
            if self.version_match.is_none() {
                errors.not_supported(MATCH, wanted, &["Exact", "NotOlderThan", ""]);
            }
            if self.version_match == Some(Match::Exact) && self.resource_version == "0" {
                errors.forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        }
        if self.send_initial_events.is_some() {
            errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
    }

    /// The same for a watch.
    fn validate_watch(&mut self, mut wanted: &str, errors: &mut Errors) {
        let begins_with_state = matches!(self.resource_version.as_str(), "" | "0");
        if self.send_initial_events.is_none() && wanted.is_empty() && begins_with_state {
            self.send_initial_events = Some(true);
            self.version_match = Some(Match::NotOlderThan);
            wanted = "NotOlderThan";
        }
        let not_older = self.version_match == Some(Match::NotOlderThan);
        if self.send_initial_events.is_some() && !not_older {
            errors.forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if wanted.is_empty() {
            return;
        }
        if self.send_initial_events.is_none() {
            errors.forbidden(MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
        if !not_older {
            errors.not_supported(MATCH, wanted, &["NotOlderThan"]);
        }
        if !self.continue_token.is_empty() {
            errors.forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
    }
}

const MATCH: &str = "resourceVersionMatch";

/// A resource version as a revision of the store; empty and `0` are any, which is 0.
pub fn revision(text: &str) -> Result<Revision, Errors> {
    let wrong = |why: &str| {
        let mut errors = Errors::new();
        errors.invalid("resourceVersion", text, format!("strconv.ParseUint: parsing {}: {why}", quote(text)));
        errors
    };
    match text {
        "" => Ok(0),
        _ if text.starts_with('+') => Err(wrong("invalid syntax")),
        _ => text.parse().map_err(|why| wrong(go_reason(&why))),
    }
}

/// A whole number in the query.
pub fn integer(query: &Query, key: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.get(key) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|why| ApiError::bad_request(format!("strconv.ParseInt: parsing {}: {}", quote(text), go_reason(&why))))
}

fn go_reason(why: &std::num::ParseIntError) -> &'static str {
    match why.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

/// What to do about unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

/// Checks `fieldValidation`, and `fieldManager`. `options` is the kind that the error names: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
pub fn field_validation(query: &Query, options: &str) -> Result<FieldValidation, ApiError> {
    let mut errors = Errors::new();
    let manager = query.get("fieldManager").unwrap_or_default();
    api::managed::validate_field_manager(manager, "fieldManager", &mut errors);
    let validation = check_write(query, &mut errors);
    if errors.is_empty() { Ok(validation) } else { Err(ApiError::invalid("meta.k8s.io", options, "", &errors)) }
}

/// Checks what options of all writes have in common.
fn check_write(query: &Query, errors: &mut Errors) -> FieldValidation {
    check_dry_run(&query.all("dryRun").collect::<Vec<_>>(), errors);
    match query.get("fieldValidation").unwrap_or_default() {
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        other => {
            if !matches!(other, "" | "Warn") {
                errors.not_supported("fieldValidation", other, &["", "Ignore", "Strict", "Warn"]);
            }
            FieldValidation::Warn
        }
    }
}

/// Checks the options of a patch; gives whether it is forced, and how its fields are validated.
pub fn patch_options(query: &Query, is_apply: bool) -> Result<(bool, FieldValidation), ApiError> {
    let mut errors = Errors::new();
    let force = query.get("force").map(|_| query.flag("force"));
    let manager = query.get("fieldManager").unwrap_or_default();
    api::managed::validate_patch_options(manager, force, is_apply, &mut errors);
    let validation = check_write(query, &mut errors);
    if errors.is_empty() {
        Ok((force.unwrap_or_default(), validation))
    } else {
        Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &errors))
    }
}

/// Whether the request must not persist anything.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, options: &str) -> Result<bool, ApiError> {
    let mut errors = Errors::new();
    let dry = check_dry_run(&values.collect::<Vec<_>>(), &mut errors);
    if errors.is_empty() { Ok(dry) } else { Err(ApiError::invalid("meta.k8s.io", options, "", &errors)) }
}

fn check_dry_run(values: &[&str], errors: &mut Errors) -> bool {
    if values.iter().any(|v| *v != "All") {
        errors.not_supported("dryRun", Value::from(values), &["All"]);
    }
    !values.is_empty()
}

#[derive(Debug, Default, Clone)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<String>,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// From a decoded body.
    pub fn from_body(body: &Value) -> Result<DeleteOptions, ApiError> {
        let dry: Vec<&str> = document::get_list(body, "dryRun").iter().filter_map(Value::as_str).collect();
        DeleteOptions::unchecked(body).validate(&dry)
    }

    /// From a document that is checked later; whether it is a dry run is not read.
    pub fn unchecked(body: &Value) -> DeleteOptions {
        let text = |path: &str| document::get(body, path).and_then(Value::as_str).map(str::to_owned);
        DeleteOptions {
            grace_period_seconds: document::get_i64(body, "gracePeriodSeconds"),
            uid: text("preconditions.uid"),
            resource_version: text("preconditions.resourceVersion"),
            orphan_dependents: document::get(body, "orphanDependents").and_then(Value::as_bool),
            propagation_policy: text("propagationPolicy"),
            dry_run: false,
        }
    }

    /// From the query, when there is no body.
    pub fn from_query(query: &Query) -> Result<DeleteOptions, ApiError> {
        let text = |key| query.get(key).map(str::to_owned);
        let options = DeleteOptions {
            grace_period_seconds: integer(query, "gracePeriodSeconds")?,
            uid: text("uid").filter(|uid| !uid.is_empty()),
            resource_version: text("resourceVersion").filter(|version| !version.is_empty()),
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            propagation_policy: text("propagationPolicy"),
            dry_run: false,
        };
        options.validate(&query.all("dryRun").collect::<Vec<_>>())
    }

    fn validate(mut self, dry_run: &[&str]) -> Result<DeleteOptions, ApiError> {
        let mut errors = Errors::new();
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.invalid("propagationPolicy", policy.as_str(), why);
            }
            if !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground") {
                errors.not_supported(
                    "propagationPolicy",
                    policy.as_str(),
                    &["Foreground", "Background", "Orphan", "nil"],
                );
            }
        }
        self.dry_run = check_dry_run(dry_run, &mut errors);
        if errors.is_empty() { Ok(self) } else { Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors)) }
    }
}
