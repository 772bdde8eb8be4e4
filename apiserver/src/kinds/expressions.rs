//! Expressions in objects: whether they compile, and whether they evaluate to what they must.

use super::path::Path;
use crate::cel::{self, Environment, Type};
use api::field::Errors;

/// Checks an expression that must evaluate to one of some types; any will do if there are none. Gives the type, unless it did
/// not compile.
pub fn validate_expression(
    expression: &str,
    environment: &Environment,
    wanted: &[Type],
    path: &Path,
    errors: &mut Errors,
) -> Option<Type> {
    match evaluated(expression, environment, wanted) {
        Ok(ty) => Some(ty),
        Err(why) => {
            errors.invalid(path, expression, why);
            None
        }
    }
}

/// The type of an expression, or why it is not one of those that are wanted.
pub fn evaluated(expression: &str, environment: &Environment, wanted: &[Type]) -> Result<Type, String> {
    let ty = cel::compile(expression, environment)?.result;
    if wanted.is_empty() || wanted.contains(&ty) {
        return Ok(ty);
    }
    let names: Vec<String> = wanted.iter().map(Type::full_name).collect();
    let actual = ty.full_name();
    Err(match &*names {
        [one] => format!("must evaluate to {one} but got {actual}"),
        several => format!("must evaluate to one of [{}] but got {actual}", several.join(" ")),
    })
}
