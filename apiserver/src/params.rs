//! Query parameters and option bodies: `ListOptions`, `DeleteOptions`, dry run, field validation.

use crate::route::Query;
use api::Value;
use api::document;
use api::field::Errors;
use api::status::ApiError;

/// How a list's resource version is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    NotOlderThan,
}

#[derive(Debug, Default, Clone)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Zero for no limit.
    pub limit: usize,
    pub continue_token: String,
    pub resource_version: Option<u64>,
    pub version_match: Option<Match>,
    pub timeout_seconds: Option<u64>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    pub fn parse(query: &Query, watch: bool) -> Result<ListOptions, ApiError> {
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let number = |key: &str| match query.get(key).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(value) => value.parse::<u64>().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", api::field::quote(value)))
            }),
        };
        let resource_version = match query.get("resourceVersion").filter(|v| !v.is_empty()) {
            None => None,
            Some(value) => Some(value.parse::<u64>().map_err(|_| {
                let mut errors = Errors::new();
                let why = format!("strconv.ParseUint: parsing {}: invalid syntax", api::field::quote(value));
                errors.invalid("resourceVersion", value, why);
                ApiError::bad_request(format!("invalid resource version {}: {}", api::field::quote(value), errors.0[0]))
            })?),
        };
        let mut options = ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: number("limit")?.unwrap_or(0) as usize,
            continue_token: text("continue"),
            resource_version,
            version_match: None,
            timeout_seconds: number("timeoutSeconds")?,
            allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        options.set_match(query.get("resourceVersionMatch").unwrap_or_default(), watch)?;
        Ok(options)
    }

    /// `resourceVersionMatch` and what it may be combined with, as `ValidateListOptions` has it.
    fn set_match(&mut self, text: &str, watch: bool) -> Result<(), ApiError> {
        let mut errors = Errors::new();
        const FIELD: &str = "resourceVersionMatch";
        match (text, watch) {
            ("", true) if self.send_initial_events.is_some() => {
                errors.forbidden(FIELD, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            ("", _) => {}
            (_, true) if self.send_initial_events.is_none() => {
                errors.forbidden(
                    FIELD,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            ("NotOlderThan", true) => self.version_match = Some(Match::NotOlderThan),
            (other, true) => errors.not_supported(FIELD, other, &["NotOlderThan"]),
            (_, false) if self.resource_version.is_none() => {
                errors.forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            (_, false) if !self.continue_token.is_empty() => {
                errors.forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided");
            }
            ("Exact", false) if self.resource_version == Some(0) => {
                errors.forbidden(FIELD, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            ("Exact", false) => self.version_match = Some(Match::Exact),
            ("NotOlderThan", false) => self.version_match = Some(Match::NotOlderThan),
            (other, false) => errors.not_supported(FIELD, other, &["Exact", "NotOlderThan", ""]),
        }
        if !watch && self.send_initial_events.is_some() {
            errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
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
    // That of a patch is checked with the patch's other options.
    if options != "PatchOptions" {
        let manager = query.get("fieldManager").unwrap_or_default();
        api::managed::validate_field_manager(manager, "fieldManager", &mut errors);
    }
    let validation = match query.get("fieldValidation").unwrap_or_default() {
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        other => {
            if !matches!(other, "" | "Warn") {
                errors.not_supported("fieldValidation", other, &["", "Ignore", "Strict", "Warn"]);
            }
            FieldValidation::Warn
        }
    };
    if errors.is_empty() { Ok(validation) } else { Err(ApiError::invalid("meta.k8s.io", options, "", &errors)) }
}

/// Checks `fieldManager` and `force` of a patch; gives whether it is forced.
pub fn patch_options(query: &Query, is_apply: bool) -> Result<bool, ApiError> {
    let mut errors = Errors::new();
    let force = query.get("force").map(|_| query.flag("force"));
    let manager = query.get("fieldManager").unwrap_or_default();
    api::managed::validate_patch_options(manager, force, is_apply, &mut errors);
    if errors.is_empty() {
        Ok(force.unwrap_or_default())
    } else {
        Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &errors))
    }
}

/// Whether the request must not persist anything.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, options: &str) -> Result<bool, ApiError> {
    let values: Vec<&str> = values.filter(|v| !v.is_empty()).collect();
    if values.iter().all(|v| *v == "All") {
        return Ok(!values.is_empty());
    }
    let mut errors = Errors::new();
    errors.not_supported("dryRun", Value::from(values), &["All"]);
    Err(ApiError::invalid("meta.k8s.io", options, "", &errors))
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
        let text = |path: &str| document::get(body, path).and_then(Value::as_str).map(str::to_owned);
        let options = DeleteOptions {
            grace_period_seconds: document::get_i64(body, "gracePeriodSeconds"),
            uid: text("preconditions.uid"),
            resource_version: text("preconditions.resourceVersion"),
            orphan_dependents: document::get(body, "orphanDependents").and_then(Value::as_bool),
            propagation_policy: text("propagationPolicy"),
            dry_run: dry_run(document::get_list(body, "dryRun").iter().filter_map(Value::as_str), "DeleteOptions")?,
        };
        options.validate()
    }

    /// From the query, when there is no body.
    pub fn from_query(query: &Query) -> Result<DeleteOptions, ApiError> {
        let grace_period_seconds = match query.get("gracePeriodSeconds").filter(|v| !v.is_empty()) {
            None => None,
            Some(value) => Some(value.parse().map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", api::field::quote(value)))
            })?),
        };
        let options = DeleteOptions {
            grace_period_seconds,
            orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            propagation_policy: query.get("propagationPolicy").filter(|v| !v.is_empty()).map(str::to_owned),
            dry_run: dry_run(query.all("dryRun"), "DeleteOptions")?,
            ..DeleteOptions::default()
        };
        options.validate()
    }

    fn validate(self) -> Result<DeleteOptions, ApiError> {
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
        if errors.is_empty() { Ok(self) } else { Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors)) }
    }
}
