//! Whether a number is of its type, within its bounds, and in whole steps.

use super::Found;
use super::name::Name;
use crate::kinds::path::{child, flag, text};
use api::Value;
use api::field::show_number;
use serde_json::Number;
use std::cmp::Ordering;

/// The names of a bound: of its field, of what makes it exclusive, of it in a sentence, and of what a number then is to be.
type Bound = (&'static str, &'static str, &'static str, [&'static str; 2], Ordering);

const BOUNDS: [Bound; 2] = [
    ("minimum", "exclusiveMinimum", "Minimum boundary", ["greater than or equal to", "greater than"], Ordering::Less),
    ("maximum", "exclusiveMaximum", "Maximum boundary", ["less than or equal to", "less than"], Ordering::Greater),
];

/// Checks a number against all that a schema says of numbers.
pub fn check(number: &Number, schema: &Value, name: &Name, found: &mut Found) {
    let bound = |key: &str| child(schema, key).and_then(Value::as_f64);
    if let Some(why) = out_of_range(number, schema, "Checked", name) {
        found.whole(why);
    }
    if let Some(step) = bound("multipleOf") {
        let (number, step, why) = comparable(number, step, schema, "MultipleOf", name);
        why.into_iter().for_each(|why| found.whole(why));
        if step.as_f64().is_some_and(|step| step <= 0.0) {
            let why = format!("factor MultipleOf declared for {name} must be positive: {}", show_number(&step));
            found.invalid(name, Value::Number(step), why);
        } else if !is_multiple(&number, &step) {
            let why = format!("{name} in body should be a multiple of {}", show_number(&step));
            found.invalid(name, Value::Number(number), why);
        }
    }
    for (key, exclusive, what, words, beyond) in BOUNDS {
        let Some(limit) = bound(key) else { continue };
        let (number, limit, why) = comparable(number, limit, schema, what, name);
        why.into_iter().for_each(|why| found.whole(why));
        let exclusive = flag(schema, exclusive);
        let order = compare(&number, &limit);
        if order == Some(beyond) || (exclusive && order == Some(Ordering::Equal)) {
            let why = format!("{name} in body should be {} {}", words[usize::from(exclusive)], show_number(&limit));
            found.invalid(name, Value::Number(number), why);
        }
    }
}

/// A number and a bound as they are compared: whole where the number is, unless the schema's type cannot hold the bound, which
/// is said too.
fn comparable(
    number: &Number,
    bound: f64,
    schema: &Value,
    what: &str,
    name: &Name,
) -> (Number, Number, Option<String>) {
    let float = |value: f64| Number::from_f64(value).unwrap_or_else(|| 0.into());
    match out_of_range(&float(bound), schema, what, name) {
        None if is_whole(number) => (number.clone(), (bound as i64).into(), None),
        why => (float(number.as_f64().unwrap_or_default()), float(bound), why),
    }
}

/// Whether the number is an integer to upstream, whose integers have 64 bits and a sign.
pub fn is_whole(number: &Number) -> bool {
    number.is_i64()
}

/// Why the schema's type cannot hold a number.
fn out_of_range(number: &Number, schema: &Value, what: &str, name: &Name) -> Option<String> {
    let (kind, format) = (text(schema, "type"), text(schema, "format"));
    let format = match kind {
        "integer" if matches!(format, "int32" | "int64") => format,
        "number" if matches!(format, "float" | "double") => format,
        _ => "",
    };
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 2f64.powi(63));
        float.map(|float| float as i64)
    });
    let fits = match (kind, format) {
        ("integer", "int32") => whole.is_some_and(|whole| i32::try_from(whole).is_ok()),
        ("integer", _) => whole.is_some(),
        (_, "float") => number.as_f64().is_some_and(|float| float.abs() <= f32::MAX.into()),
        _ => true,
    };
    let of = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
    (!fits).then(|| format!("{what} value must be of type {kind} {of} in {name}"))
}

/// Whether a number is so many steps; of fractions, as near as can be told.
fn is_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (number.as_i64(), step.as_i64()) {
        return number.checked_rem(step).unwrap_or_default() == 0;
    }
    let (number, step) = (number.as_f64().unwrap_or_default(), step.as_f64().unwrap_or_default());
    is_integer(if step < 1.0 { 1.0 / step * number } else { number / step })
}

/// Whether a float counts as an integer: it is one that JSON's readers keep, or next to none away from it.
pub fn is_integer(float: f64) -> bool {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    const NEAR: f64 = 1e-9;
    if !(-SAFE..=SAFE).contains(&float) {
        return false;
    }
    let whole = float.round();
    float == whole || (float - whole).abs() < NEAR * whole.abs()
}

fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
