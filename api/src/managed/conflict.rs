//! The failure of an apply that would change what others own.

use super::managers::{Manager, Operation};
use super::set::FieldSet;
use crate::field::TEXT_MAX;
use crate::status::{ApiError, Cause};
use std::ops::ControlFlow;

/// What an apply would take from a manager.
pub(super) struct Conflict<'a> {
    pub owner: Manager<'a>,
    pub fields: FieldSet<'a>,
}

/// 409 with one cause for each field of each owner; the first ones, if all of them would be too much text.
pub(super) fn conflict_error(mut conflicts: Vec<Conflict<'_>>) -> ApiError {
    conflicts.sort_by_cached_key(|c| (c.owner.name.to_string(), c.owner.operation, c.owner.describe()));
    let mut failure = ApiError::new(409, "Conflict", "");
    let mut lines: Vec<String> = Vec::new();
    let mut told = 0;
    for Conflict { owner, fields } in &conflicts {
        let owner = owner.describe();
        lines.push(format!("conflicts with {owner}:"));
        let end = fields.each_path(&mut |path| {
            lines.push(format!("- {path}"));
            told += path.len() + owner.len();
            failure.causes.push(Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {owner}"),
                field: path.to_owned(),
            });
            if told > TEXT_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if end.is_break() {
            break;
        }
    }
    let count: usize = conflicts.iter().map(|c| c.fields.len()).sum();
    failure.message = match &failure.causes[..] {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        _ => format!("Apply failed with {count} conflicts: {}", lines.join("\n")),
    };
    failure
}

impl Manager<'_> {
    /// `"kubectl" using apps/v1`, as conflicts name the owner.
    fn describe(&self) -> String {
        let mut text = crate::field::quote(&self.name);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {}", crate::field::quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.version);
        }
        text
    }
}
