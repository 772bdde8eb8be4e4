//! What is looked at once an expression's types are known: literals that no function takes, and lists and maps of several
//! types.

use super::check::Checked;
use super::format;
use super::parse::{Parsed, each_part};
use super::problem::{MAX_PROBLEMS, Problem, Source};
use super::types::Type;
use crate::go_regexp::Pattern;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr};

/// What an expression has wrong though its types fit.
pub fn validate(parsed: &Parsed, source: &Source<'_>, checked: &Checked) -> Vec<Problem> {
    let mut validator = Validator { checked, found: Vec::new() };
    validator.visit(&parsed.expr, false);
    let place = |id| source.place(parsed.offset(id));
    validator.found.into_iter().map(|(id, message)| Problem::new(place(id), message)).collect()
}

struct Validator<'a> {
    checked: &'a Checked,
    found: Vec<(u64, String)>,
}

impl Validator<'_> {
    /// `formats` is set within the arguments of `format`, where lists may have elements of several types.
    fn visit(&mut self, expr: &IdedExpr, formats: bool) {
        let mut formats = formats;
        match &expr.expr {
            Expr::Call(call) => {
                self.call(expr.id, call);
                formats |= call.func_name == "format";
            }
            Expr::List(list) if !formats => self.list(list),
            Expr::Map(map) if !formats => self.map(map),
            _ => {}
        }
        each_part(expr, &mut |part| self.visit(part, formats));
    }

    fn report(&mut self, id: u64, message: String) {
        if self.found.len() <= MAX_PROBLEMS {
            self.found.push((id, message));
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) {
        let name = &*call.func_name;
        if let [arg] | [arg, _] = &*call.args
            && let Expr::Literal(literal) = &arg.expr
            && !is_taken(name, literal)
        {
            self.report(arg.id, format!("invalid {name} argument"));
        }
        if let ("format", Some(target), [arg]) = (name, &call.target, &*call.args)
            && let (Expr::Literal(LiteralValue::String(text)), Expr::List(list)) = (&target.expr, &arg.expr)
            && let Err((id, why)) = format::check(text.inner(), &list.elements, id, self.checked)
        {
            self.report(id, why);
        }
    }

    fn mismatch(&mut self, id: u64, expected: &Type, actual: &Type) {
        self.report(id, format!("expected type '{expected}' but found '{actual}'"));
    }

    fn ty(&self, expr: &IdedExpr, is_optional: bool) -> Type {
        let ty = self.checked.ty(expr.id);
        ty.optional_value().filter(|_| is_optional).cloned().unwrap_or(ty)
    }

    fn list(&mut self, list: &ListExpr) {
        let types = |(i, element)| (element, self.ty(element, list.optional_indices.contains(&i)));
        let mut types = list.elements.iter().enumerate().map(types);
        let Some((_, first)) = types.next() else { return };
        let other = types.find(|(_, ty)| !first.is_equivalent(ty));
        if let Some((element, ty)) = other {
            self.mismatch(element.id, &first, &ty);
        }
    }

    fn map(&mut self, map: &MapExpr) {
        let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => Some(entry),
            EntryExpr::StructField(_) => None,
        });
        let mut first: Option<(Type, Type)> = None;
        for entry in entries {
            let (key, value) = (self.ty(&entry.key, false), self.ty(&entry.value, entry.optional));
            let Some((keys, values)) = &first else {
                first = Some((key, value));
                continue;
            };
            if !keys.is_equivalent(&key) {
                self.mismatch(entry.key.id, keys, &key);
            }
            if !values.is_equivalent(&value) {
                self.mismatch(entry.value.id, values, &value);
            }
        }
    }
}

/// Whether a function that reads its first argument can read this one.
fn is_taken(function: &str, argument: &LiteralValue) -> bool {
    /// The seconds of the years 1 to 9999.
    const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    match (function, argument) {
        ("duration", LiteralValue::String(text)) => api::time::parse_duration(text.inner()).is_ok(),
        ("timestamp", LiteralValue::String(text)) => is_time(text.inner()),
        ("timestamp", LiteralValue::Int(seconds)) => TIMES.contains(seconds.inner()),
        ("matches", LiteralValue::String(text)) => Pattern::parse(text.inner()).is_ok(),
        _ => true,
    }
}

/// Whether a text is a time as in RFC 3339, with any number of digits for parts of a second.
fn is_time(text: &str) -> bool {
    let whole = text.get(..19).unwrap_or_default();
    let rest = text.get(19..).unwrap_or_default();
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|char: char| char.is_ascii_digit()),
        None => rest,
    };
    api::time::parse(&format!("{whole}{zone}")).is_ok()
}
