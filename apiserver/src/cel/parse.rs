//! Text to a tree, and what is wrong with the text.

use super::problem::{MAX_PROBLEMS, Problem, Source};
use super::{depth, macros};
use cel::Env;
use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SourceInfo};
use cel::parser::ParseError;
use std::sync::LazyLock;

/// Characters of an expression.
const MAX_LENGTH: usize = 100_000;

/// An expression as it was read.
pub struct Parsed {
    pub expr: IdedExpr,
    offsets: SourceInfo,
}

impl Parsed {
    /// Where a part of the expression begins, in bytes from the start of the text.
    pub fn offset(&self, id: u64) -> usize {
        self.offsets.offset_for(id).map_or(0, |(start, _)| start as usize)
    }
}

/// Which macros there are besides the usual ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macros {
    Usual,
    WithBind,
}

/// Reads an expression. Recurses as deep as the expression is nested, and takes much of the stack: [`super::compile`] sees to
/// that there is enough.
pub fn parse(text: &str, source: &Source<'_>, macros: Macros) -> Result<Parsed, Vec<Problem>> {
    static USUAL: LazyLock<Env> = LazyLock::new(|| env(macros::usual()));
    static WITH_BIND: LazyLock<Env> = LazyLock::new(|| env(macros::usual().chain([macros::bind()])));
    let length = text.chars().count();
    if length > MAX_LENGTH {
        let why = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        return Err(vec![Problem::of_all(why)]);
    }
    depth::check(text).map_err(|why| vec![Problem::of_all(why)])?;
    let env = if macros == Macros::WithBind { &*WITH_BIND } else { &*USUAL };
    let parser = env.parser().max_recursion_depth(depth::MAX as u16);
    match parser.parse_with_source_info(text) {
        Ok((expr, mut offsets)) => {
            include_signs(&expr, text, &mut offsets);
            Ok(Parsed { expr, offsets })
        }
        Err(found) => {
            let problems = found.errors.iter().filter_map(|error| problem(error, text, source));
            Err(problems.take(MAX_PROBLEMS).collect())
        }
    }
}

fn env(macros: impl Iterator<Item = cel::parser::Macro>) -> Env {
    let mut env = Env::default().with_optional_support(true);
    for expanded in macros {
        // Each of the tables' macros is in them once.
        let _ = env.add_macro(expanded);
    }
    env
}

/// Numbers begin with their sign; the parser has their digits' place.
fn include_signs(expr: &IdedExpr, text: &str, offsets: &mut SourceInfo) {
    let is_negative = match &expr.expr {
        Expr::Literal(LiteralValue::Int(value)) => *value.inner() < 0,
        Expr::Literal(LiteralValue::Double(value)) => value.inner().is_sign_negative(),
        _ => false,
    };
    if is_negative
        && let Some((start, stop)) = offsets.offset_for(expr.id)
        && let Some(sign) = text.get(..start as usize).and_then(|before| before.rfind('-'))
        && !text[sign..].starts_with(|char: char| char.is_ascii_digit())
    {
        offsets.add_offset(expr.id, sign as u32, stop);
    }
    each_part(expr, &mut |part| include_signs(part, text, offsets));
}

/// Visits the parts that an expression is made of directly.
pub fn each_part<'e>(expr: &'e IdedExpr, visit: &mut impl FnMut(&'e IdedExpr)) {
    let mut entries = |entries: &'e [IdedEntryExpr]| {
        for entry in entries {
            match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    visit(&entry.key);
                    visit(&entry.value);
                }
                EntryExpr::StructField(field) => visit(&field.value),
            }
        }
    };
    match &expr.expr {
        Expr::Select(select) => visit(&select.operand),
        Expr::Call(call) => {
            call.target.iter().for_each(|target| visit(target));
            call.args.iter().for_each(visit);
        }
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(object) => entries(&object.entries),
        Expr::Comprehension(inner) => {
            for part in [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                visit(part);
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// What the parser found, in the words that clients know.
fn problem(error: &ParseError, text: &str, source: &Source<'_>) -> Option<Problem> {
    let (line, mut column) = (usize::try_from(error.pos.0).ok()?, usize::try_from(error.pos.1 - 1).ok()?);
    if let Some(message) = error.msg.strip_prefix(macros::MARK) {
        return Some(Problem::new(source.place_in(line, column), message));
    }
    let mut message = error.msg.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
    // The rest of a rule that was broken off; what broke it has its own error.
    if message.starts_with("Incomplete ") || message.starts_with("No `") {
        return None;
    }
    if message.starts_with("invalid string literal:") || message.starts_with("invalid bytes literal:") {
        let is_unicode = message.to_lowercase().contains("unicode");
        message = if is_unicode { "invalid unicode code point" } else { "unable to unescape string" }.to_owned();
    } else if message == "unsupported syntax: '`'" {
        let quoted = source.line(line).and_then(|text| text.chars().skip(column).position(|char| char == '`'));
        column += quoted.unwrap_or_default();
    } else if let Some(word) = reserved_after_dot(&message) {
        message = format!("Syntax error: mismatched input '{word}' expecting IDENTIFIER");
    } else if let Some((before, expected)) = message.split_once(" expecting {") {
        let open = || depth::open_before(text, source.offset(line, column));
        message = format!("{before} expecting {}", without_operators(expected.trim_end_matches('}'), open));
    }
    Some(Problem::new((line, column), message))
}

fn reserved_after_dot(message: &str) -> Option<&str> {
    let input = message.strip_prefix("Syntax error: no viable alternative at input '")?.strip_suffix('\'')?;
    let word = input.get(1..)?;
    ["true", "false", "null"].contains(&word).then_some(word)
}

/// What could stand at a place, in braces if it is several things. That an expression could go on with an operator is not told
/// where something else must come; `open` says what that is at the outermost level.
fn without_operators(expected: &str, open: impl Fn() -> depth::Open) -> String {
    const OPERATORS: [&str; 17] = [
        "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "'.'", "'-'", "'?'", "'+'", "'*'",
        "'/'", "'%'",
    ];
    let all = || expected.split(", ");
    if !all().any(|token| token == "'=='") {
        return format!("{{{expected}}}");
    }
    match open() {
        depth::Open::Nothing => return "<EOF>".to_owned(),
        depth::Open::Choice => return "':'".to_owned(),
        depth::Open::Bracket => {}
    }
    let left: Vec<&str> = all().filter(|token| !OPERATORS.contains(token)).collect();
    match &*left {
        [] => format!("{{{expected}}}"),
        [one] => (*one).to_owned(),
        several => format!("{{{}}}", several.join(", ")),
    }
}
