//! Reading RFC 3339 as Go's `time.Parse` does, with its sentences about what is wrong.

use super::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads a time. `micro`: with exactly six digits of a second's fraction; else with any number, or none.
pub(super) fn parse(text: &str, micro: bool) -> Result<Timestamp, String> {
    let reader = Reader { text, layout: if micro { MICRO_LAYOUT } else { LAYOUT }, rest: text.as_bytes() };
    reader.read(micro)
}

struct Reader<'t> {
    text: &'t str,
    layout: &'static str,
    rest: &'t [u8],
}

impl Reader<'_> {
    fn read(mut self, micro: bool) -> Result<Timestamp, String> {
        let year = self.digits(4, "2006")? as i16;
        self.literal("-")?;
        let month = self.ranged("01", 1..=12, "month")?;
        self.literal("-")?;
        let day = self.digits(2, "02")? as i8;
        self.literal("T")?;
        let hour = self.hour()?;
        self.literal(":")?;
        let minute = self.ranged("04", 0..=59, "minute")?;
        self.literal(":")?;
        let second = self.ranged("05", 0..=59, "second")?;
        let nanos = if micro { self.micros()? } else { self.fraction() };
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(self.says(&format!("extra text: {}", quote(self.rest))));
        }
        let days = if (1..=12).contains(&month) { days_in(year, month) } else { 0 };
        if !(1..=days).contains(&day) {
            return Err(self.says("day out of range"));
        }
        let clock = DateTime::new(year, month, day, hour, minute, second, nanos);
        let at =
            clock.ok().zip(Offset::from_seconds(offset).ok()).and_then(|(clock, zone)| zone.to_timestamp(clock).ok());
        at.ok_or_else(|| self.says("year out of range"))
    }

    fn says(&self, what: &str) -> String {
        format!("parsing time {}: {what}", quote(self.text.as_bytes()))
    }

    fn cannot<T>(&self, rest: &[u8], part: &str) -> Result<T, String> {
        let (text, layout) = (quote(self.text.as_bytes()), quote(self.layout.as_bytes()));
        Err(format!("parsing time {text} as {layout}: cannot parse {} as {}", quote(rest), quote(part.as_bytes())))
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        match self.rest.strip_prefix(text.as_bytes()) {
            Some(rest) => self.rest = rest,
            None => return self.cannot(self.rest, text),
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, part: &str) -> Result<i32, String> {
        match self.rest.split_at_checked(count) {
            Some((number, rest)) if number.iter().all(u8::is_ascii_digit) => {
                self.rest = rest;
                Ok(number.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')))
            }
            _ => self.cannot(self.rest, part),
        }
    }

    fn ranged(&mut self, part: &str, range: std::ops::RangeInclusive<i32>, name: &str) -> Result<i8, String> {
        let number = self.digits(2, part)?;
        if range.contains(&number) { Ok(number as i8) } else { Err(self.says(&format!("{name} out of range"))) }
    }

    /// Go takes an hour of one digit too.
    fn hour(&mut self) -> Result<i8, String> {
        let two = self.rest.get(1).is_some_and(u8::is_ascii_digit);
        let hour = self.digits(if two { 2 } else { 1 }, "15")?;
        if hour < 24 { Ok(hour as i8) } else { Err(self.says("hour out of range")) }
    }

    fn micros(&mut self) -> Result<i32, String> {
        const PART: &str = ".000000";
        match self.rest.split_at_checked(PART.len()) {
            Some(([b'.' | b',', number @ ..], rest)) if number.iter().all(u8::is_ascii_digit) => {
                self.rest = rest;
                Ok(number.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')) * 1000)
            }
            _ => self.cannot(self.rest, PART),
        }
    }

    fn fraction(&mut self) -> i32 {
        let [b'.' | b',', digits @ ..] = self.rest else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        let (number, rest) = digits.split_at(count);
        self.rest = rest;
        (0..9).fold(0, |sum, at| sum * 10 + number.get(at).map_or(0, |digit| i32::from(digit - b'0')))
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Result<i32, String> {
        const PART: &str = "Z07:00";
        let number = |tens: u8, ones: u8| {
            let both = tens.is_ascii_digit() && ones.is_ascii_digit();
            both.then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
        };
        let (hours, minutes, sign, rest) = match self.rest {
            [b'Z', rest @ ..] => (Some(0), Some(0), 1, rest),
            [sign @ (b'+' | b'-'), h, hh, b':', m, mm, rest @ ..] => {
                (number(*h, *hh), number(*m, *mm), if *sign == b'-' { -1 } else { 1 }, rest)
            }
            _ => return self.cannot(self.rest, PART),
        };
        let (Some(hours), Some(minutes)) = (hours, minutes) else { return self.cannot(self.rest, PART) };
        self.rest = rest;
        match (hours, minutes) {
            (25.., _) => Err(self.says("time zone offset hour out of range")),
            (_, 61..) => Err(self.says("time zone offset minute out of range")),
            _ => Ok(sign * (hours * 60 + minutes) * 60),
        }
    }
}

fn days_in(year: i16, month: i8) -> i8 {
    jiff::civil::Date::new(year, month, 1).map_or(0, |date| date.days_in_month())
}

/// As Go's `time` package quotes: what is not ASCII byte by byte.
fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'\x7f' => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for text in
            ["2026-01-02T03:04:05Z", "2026-01-02T3:04:05Z", "2026-01-02T03:04:05,5+01:00", "0001-01-01T00:00:00Z"]
        {
            assert!(parse(text, false).is_ok(), "{text}");
        }
        assert_eq!(parse("2026-01-02T03:04:05.000001-01:00", true).unwrap().to_string(), "2026-01-02T04:04:05.000001Z");
    }

    #[test]
    fn what_is_wrong_is_told_as_go_tells_it() {
        for (text, why) in [
            ("x", "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
            ("2020-01-01", "parsing time \"2020-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""),
            ("2020-13-01T00:00:00Z", "parsing time \"2020-13-01T00:00:00Z\": month out of range"),
            ("2020-02-30T00:00:00Z", "parsing time \"2020-02-30T00:00:00Z\": day out of range"),
            ("2020-01-01T25:00:00Z", "parsing time \"2020-01-01T25:00:00Z\": hour out of range"),
            ("2020-01-01T00:00:00Zx", "parsing time \"2020-01-01T00:00:00Zx\": extra text: \"x\""),
            (
                "2020-01-01T00:00:00",
                "parsing time \"2020-01-01T00:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"",
            ),
        ] {
            assert_eq!(parse(text, false).unwrap_err(), why);
        }
        assert_eq!(
            parse("2020-01-01T00:00:00Z", true).unwrap_err(),
            "parsing time \"2020-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\""
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,]{0,12}[Z+-][0-9:]{0,6}|.{0,30}") {
            let _ = (parse(&text, false), parse(&text, true));
        }
    }
}
