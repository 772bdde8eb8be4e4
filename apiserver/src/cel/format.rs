//! `'..'.format([..])` where both are written out: whether the clauses fit the values.

use super::check::Checked;
use super::types::{Family, Simple, Type};
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// What is wrong, and at which expression; `call` is the whole.
pub fn check(format: &str, args: &[IdedExpr], call: u64, checked: &Checked) -> Result<(), (u64, String)> {
    let bytes = format.as_bytes();
    let (mut at, mut used) = (0, 0);
    let whole = |why: String| Err((call, why));
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'%', Some(b'%')) => at += 2,
            (b'%', None) => return whole("unexpected end of string".to_owned()),
            (b'%', Some(_)) => {
                let Some(arg) = args.get(used) else { return whole(format!("index {used} out of range")) };
                used += 1;
                let (length, clause) = match clause(&format[at + 1..]) {
                    Ok(read) => read,
                    Err(why) => return whole(format!("could not parse formatting clause: {why}")),
                };
                at += 1 + length;
                fits(clause, arg, checked).map_err(|(id, why)| (id, format!("error during formatting: {why}")))?;
            }
            _ => at += 1,
        }
    }
    if args.len() > used {
        return whole(format!("too many arguments supplied to string.format (expected {used}, got {})", args.len()));
    }
    Ok(())
}

/// The letter of a clause, after its precision, and how long both are.
fn clause(text: &str) -> Result<(usize, u8), String> {
    let mut at = 0;
    if let Some(precision) = text.strip_prefix('.') {
        let Some(digits) = precision.find(|char: char| !char.is_ascii_digit()) else {
            return Err("error while parsing precision: could not find end of precision specifier".to_owned());
        };
        let number = &precision[..digits];
        let because = match number.parse::<i64>() {
            Ok(_) => None,
            Err(_) if number.is_empty() => Some("invalid syntax"),
            Err(_) => Some("value out of range"),
        };
        if let Some(because) = because {
            return Err(format!(
                "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \
                 \"{number}\": {because}"
            ));
        }
        at = 1 + digits;
    }
    match text.as_bytes().get(at) {
        Some(letter @ (b's' | b'd' | b'f' | b'e' | b'b' | b'x' | b'X' | b'o')) => Ok((at + 1, *letter)),
        // One byte, as what is told is told of bytes.
        other => Err(format!("unrecognized formatting clause \"{}\"", char::from(other.copied().unwrap_or_default()))),
    }
}

fn fits(clause: u8, arg: &IdedExpr, checked: &Checked) -> Result<(), (u64, String)> {
    use Simple::{Bool, Bytes, Double, Int, String as Text, Uint};
    let (kinds, message): (&[Simple], &str) = match clause {
        b's' => return is_text(arg, checked),
        b'd' => (&[Int, Uint], "decimal clause can only be used on integers"),
        b'f' => (&[Double, Text], "fixed-point clause can only be used on doubles"),
        b'e' => (&[Double, Text], "scientific clause can only be used on doubles"),
        b'b' => (&[Int, Uint, Bool], "only integers and bools can be formatted as binary"),
        b'o' => (&[Int, Uint], "octal clause can only be used on integers"),
        _ => (&[Int, Uint, Text, Bytes], "only integers, byte buffers, and strings can be formatted as hex"),
    };
    match checked.ty(arg.id) {
        Type::Simple(simple) if simple == Simple::Dyn || kinds.contains(&simple) => Ok(()),
        other => Err((arg.id, format!("{message}, was given {}", other.name()))),
    }
}

fn is_text(arg: &IdedExpr, checked: &Checked) -> Result<(), (u64, String)> {
    let ty = checked.ty(arg.id);
    let can_be = match &ty {
        Type::Simple(simple) => !matches!(simple, Simple::Any | Simple::Error),
        Type::Of(family, _) => !matches!(family, Family::Opaque(_)),
        Type::Param(_) | Type::Object(_) => false,
    };
    if !can_be {
        const WHY: &str = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
            durations, and timestamps";
        return Err((arg.id, format!("{WHY}, was given {}", ty.name())));
    }
    match &arg.expr {
        Expr::List(list) => list.elements.iter().try_for_each(|element| is_text(element, checked)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                is_text(&entry.key, checked)?;
                is_text(&entry.value, checked)
            }
            EntryExpr::StructField(_) => Ok(()),
        }),
        _ => Ok(()),
    }
}
