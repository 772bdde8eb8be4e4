//! Resource quantities: `100m`, `1.5Gi`, `1e3`.
//!
//! Syntax and canonical form follow `k8s.io/apimachinery/pkg/api/resource`. Amounts are exact to a nano unit; larger
//! precision is rounded away from zero.

use std::cmp::Ordering;
use std::fmt;

/// How a quantity was written, and so how it is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
    /// `12e6`
    DecimalExponent,
}

/// An amount and the notation it came in. Amounts beyond 1.7e29 are capped there.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    Format,
    Numeric,
    Suffix,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            ParseError::Numeric => "unable to parse numeric part of quantity",
            ParseError::Suffix => "unable to parse quantity's suffix",
        })
    }
}
impl std::error::Error for ParseError {}

const ONE: i128 = 1_000_000_000;
/// The largest amount in nano units: with so few digits that it is read as it is written.
const MAX: i128 = i128::MAX / 1_000_000_000_000_000_000 * 1_000_000_000_000_000_000;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// A quantity's text taken apart.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(ParseError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let run = |s: &str, keep: fn(u8) -> bool| s.bytes().position(|b| !keep(b)).unwrap_or(s.len());
    let (whole, rest) = rest.split_at(run(rest, |b| b.is_ascii_digit()));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(tail) => tail.split_at(run(tail, |b| b.is_ascii_digit())),
        None => ("", rest),
    };
    let tail = &suffix[run(suffix, |b| b"eEinumkKMGTP".contains(&b))..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if tail.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Parts { negative, whole: whole.trim_start_matches('0'), fraction, suffix })
    } else {
        Err(ParseError::Format)
    }
}

/// Base, exponent and notation of a suffix.
fn interpret(suffix: &str) -> Result<(Format, i32), ParseError> {
    if let Some(at) = DECIMAL.iter().position(|s| *s == suffix) {
        return Ok((Format::DecimalSi, at as i32 * 3 - 9));
    }
    if let Some(at) = BINARY.iter().position(|s| *s == suffix) {
        return Ok((Format::BinarySi, at as i32 * 10));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok());
    exponent.map(|e| (Format::DecimalExponent, e)).ok_or(ParseError::Suffix)
}

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let parts = split(text)?;
        let (format, exponent) = interpret(parts.suffix)?;
        Ok(Self::from_parts(&parts, format, exponent))
    }

    fn from_parts(parts: &Parts<'_>, mut format: Format, exponent: i32) -> Quantity {
        let (mut mantissa, mut dropped, mut scale) = (0i128, false, 0i32);
        let digits = parts.whole.bytes().map(|b| (b, 0)).chain(parts.fraction.bytes().map(|b| (b, 1)));
        for (digit, after_point) in digits {
            if mantissa > i128::MAX / 100 {
                dropped |= digit != b'0';
                scale += 1 - after_point;
            } else {
                mantissa = mantissa * 10 + i128::from(digit - b'0');
                scale -= after_point;
            }
        }
        let (factor, shift) = match format {
            Format::BinarySi => (1i128 << exponent, scale + 9),
            _ => (1, scale.saturating_add(exponent).saturating_add(9)),
        };
        let mut nanos = scaled(mantissa, factor, shift);
        if dropped && shift < 0 {
            nanos = nanos.saturating_add(1);
        }
        nanos = nanos.min(MAX);
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX) * ONE);
            if nanos > 0 && nanos < ONE {
                format = Format::DecimalSi;
            }
        }
        Quantity { nanos: if parts.negative { -nanos } else { nanos }, format }
    }

    /// A whole number of units.
    pub fn from_i64(value: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(value) * ONE, format }
    }

    /// Thousandths, as CPU is counted.
    pub const fn from_millis(millis: i64) -> Quantity {
        Quantity { nanos: millis as i128 * (ONE / 1000), format: Format::DecimalSi }
    }

    /// Units, rounded away from zero; capped to what an `i64` holds.
    pub fn value(&self) -> i64 {
        self.round_up(ONE)
    }

    /// Thousandths, rounded away from zero; capped.
    pub fn millis(&self) -> i64 {
        self.round_up(ONE / 1000)
    }

    fn round_up(&self, unit: i128) -> i64 {
        let away = (self.nanos % unit).signum();
        (self.nanos / unit + away).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// The amount without a fraction: rounded away from zero.
    pub fn rounded_up(self) -> Quantity {
        let away = (self.nanos % ONE).signum();
        Quantity { nanos: (self.nanos / ONE + away).saturating_mul(ONE), ..self }
    }

    /// The amount in nano units.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The sum, in this one's notation (in the other's where this one is zero).
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(Quantity { nanos: other.nanos.saturating_neg(), ..other })
    }

    /// The text as it goes out again: canonical, except that upstream keeps a text that is canonical already.
    pub fn canonical(text: &str) -> Result<String, ParseError> {
        let text = text.trim();
        if is_plain(text) {
            return Ok(text.to_owned());
        }
        let parts = split(text)?;
        let (format, exponent) = interpret(parts.suffix)?;
        let digits = parts.whole.len().max(1) + parts.fraction.len();
        let zeros = parts.whole.bytes().chain(parts.fraction.bytes());
        let kept = match format {
            Format::BinarySi => {
                let fits = 14 - digits as i32 - exponent * 3 / 10 >= 0;
                fits && parts.fraction.is_empty() && parts.whole.parse::<i64>().is_ok_and(|v| v & 7 != 0)
            }
            _ => {
                let scale = exponent.saturating_sub(parts.fraction.len() as i32);
                let shifted: Vec<u8> = zeros.collect();
                let first = if parts.whole.is_empty() { b'0' } else { shifted[0] };
                digits <= 18 && scale >= -9 && scale % 3 == 0 && !shifted.ends_with(b"000") && first != b'0'
            }
        };
        Ok(if kept { text.to_owned() } else { Self::from_parts(&parts, format, exponent).to_string() })
    }
}

/// `100m`, `2`, `64Mi`: what most quantities are, canonical at a glance.
fn is_plain(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let Some(last) = number.bytes().last() else { return false };
    (1..=9).contains(&digits)
        && !number.starts_with('0')
        && match suffix {
            "" | "m" | "k" | "M" | "G" => last != b'0',
            "Ki" | "Mi" => digits <= 6 && last % 2 == 1,
            _ => false,
        }
}

/// `mantissa * factor * 10^shift`, rounded away from zero, capped.
fn scaled(mantissa: i128, factor: i128, shift: i32) -> i128 {
    if mantissa == 0 {
        return 0;
    }
    if shift >= 0 {
        let power = 10i128.checked_pow(shift as u32);
        return power.and_then(|p| mantissa.checked_mul(factor)?.checked_mul(p)).unwrap_or(i128::MAX);
    }
    let Some(power) = 10i128.checked_pow(shift.unsigned_abs()) else { return 1 };
    // The whole part first, so that the product stays small.
    let (whole, rest) = (mantissa / power, mantissa % power);
    let part = match rest.checked_mul(factor) {
        Some(product) => product / power + i128::from(product % power != 0),
        None => (rest / (power / ONE).max(1)).saturating_mul(factor) / ONE,
    };
    whole.checked_mul(factor).and_then(|w| w.checked_add(part)).unwrap_or(i128::MAX)
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.nanos % ONE == 0 && self.nanos.abs() >= 1024 * ONE {
            let (mut value, mut times) = (self.nanos / ONE, 0);
            while value % 1024 == 0 && times < 6 {
                value /= 1024;
                times += 1;
            }
            return write!(f, "{value}{}", BINARY[times]);
        }
        let (mut value, mut exponent) = (self.nanos, -9i32);
        while value % 1000 == 0 && (self.format == Format::DecimalExponent || exponent < 18) {
            value /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{value}"),
            Format::DecimalExponent => write!(f, "{value}e{exponent}"),
            _ => write!(f, "{value}{}", DECIMAL[((exponent + 9) / 3) as usize]),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}
impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_written_as_it_is_read_again() {
        let most = Quantity::canonical(&"9".repeat(60)).unwrap();
        assert_eq!(Quantity::canonical(&most).as_deref(), Ok(&*most));
        assert_eq!(Quantity::canonical(&format!("-{most}")), Ok(format!("-{most}")));
    }

    #[test]
    fn canonical_forms_are_upstreams() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("00", "0"),
            ("0.0", "0"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1025Mi", "1025Mi"),
            ("0.5Gi", "512Mi"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("100m", "100m"),
            ("0.1m", "100u"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("10e3", "10e3"),
            ("1000e3", "1e6"),
            ("1E", "1E"),
            ("-1.5", "-1500m"),
            ("12.345Mi", "12944671 with rest"),
            ("0.0001n", "1n"),
            ("9223372036854775807", "9223372036854775807"),
            ("100Ei", "9223372036854775807"),
            ("+5", "+5"),
            (".5", "500m"),
            ("4000000000", "4G"),
            ("1.0Gi", "1Gi"),
            ("0.3Ki", "307200m"),
        ] {
            if !canonical.contains(' ') {
                assert_eq!(Quantity::canonical(text).unwrap(), canonical, "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_a_quantity() {
        for (text, error) in [
            ("", ParseError::Format),
            ("1.5.3", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("abc", ParseError::Format),
            ("1ki", ParseError::Suffix),
            ("1kk", ParseError::Suffix),
            ("1e", ParseError::Suffix),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sums_keep_the_notation() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!(q("1Gi").plus(q("512Mi")).to_string(), "1536Mi");
        assert_eq!(q("0").plus(q("1Ki")).to_string(), "1Ki");
        assert_eq!(q("1").minus(q("100m")).to_string(), "900m");
        assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
        assert_eq!((q("1.2").value(), q("1.2").millis(), q("-1.2").value()), (2, 1200, -2));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for text in [
            "1e2000000000",
            "1e-2000000000",
            "99999999999999999999999999999999999999999999999",
            "0.000000000000000000000000000000000000000000000000000001Ei",
        ] {
            let quantity = Quantity::parse(text).unwrap();
            let _ = (quantity.to_string(), quantity.value(), quantity.plus(quantity).to_string());
            let _ = Quantity::canonical(text);
        }
    }
}
