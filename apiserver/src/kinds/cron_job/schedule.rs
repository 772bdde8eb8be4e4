//! The schedules that CronJobs take: five fields or a descriptor, as `github.com/robfig/cron` v3 reads them.

/// A field's name for each value, starting at its minimum.
type Names = &'static [&'static str];

const FIELDS: [(i64, i64, Names); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Reads a schedule; the error says what is wrong with it.
pub fn parse(schedule: &str) -> Result<(), String> {
    let mut spec = schedule;
    if spec.starts_with("TZ=") || spec.starts_with("CRON_TZ=") {
        let Some((_, rest)) = spec.split_once(' ') else {
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned());
        };
        let zone = spec[..spec.len() - rest.len() - 1].split_once('=').map_or("", |(_, zone)| zone);
        if !is_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return parse_descriptor(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let list = fields.join(" ");
        return Err(format!("expected exactly {} fields, found {}: [{list}]", FIELDS.len(), fields.len()));
    }
    for (field, (low, high, names)) in fields.into_iter().zip(FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            parse_range(range, low, high, names)?;
        }
    }
    Ok(())
}

fn parse_descriptor(spec: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&spec) {
        return Ok(());
    }
    match spec.strip_prefix("@every ") {
        Some(duration) => match api::time::parse_duration(duration) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("failed to parse duration {spec}: {why}")),
        },
        None => Err(format!("unrecognized descriptor: {spec}")),
    }
}

fn parse_range(range: &str, low: i64, high: i64, names: Names) -> Result<(), String> {
    let parts: Vec<&str> = range.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => (low, high),
        [only] => (value(only, low, names)?, value(only, low, names)?),
        [first, last] => (value(first, low, names)?, value(last, low, names)?),
        _ => return Err(format!("too many hyphens: {range}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            // `N/step` goes on to the end of the field.
            end = if ends.len() == 1 { high } else { end };
            number(step)?
        }
        _ => return Err(format!("too many slashes: {range}")),
    };
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {range}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {range}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {range}"));
    }
    Ok(())
}

fn value(text: &str, low: i64, names: Names) -> Result<i64, String> {
    match names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(position) => Ok(low + position as i64),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")),
    }
}

/// The names of the IANA's time zone database, sorted.
const ZONES: &str = include_str!("zones.txt");

/// Whether a time zone has this name. Nothing, `UTC` and `Local` are names without an entry.
fn is_zone(name: &str) -> bool {
    matches!(name, "" | "UTC" | "Local") || ZONES.lines().any(|zone| zone == name)
}

/// What is wrong with the name of a time zone.
pub fn zone_problems(zone: &str) -> Vec<String> {
    if zone.is_empty() {
        return vec!["timeZone must be nil or non-empty string".to_owned()];
    }
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(is_part) {
        return vec![format!("unknown time zone {zone}")];
    }
    let mut problems = Vec::new();
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        problems.push(detail.to_owned());
    }
    if !is_zone(zone) {
        problems.push(format!("unknown time zone {zone}"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_upstream_reads_them() {
        let ok =
            ["*/5 * * * *", "0 0 1 JAN mon-fri", "@hourly", "@every 1h30m", "1,2,3-5/2 ? * * 0", "TZ=UTC 0 * * * *"];
        for schedule in ok {
            assert_eq!(parse(schedule), Ok(()), "{schedule}");
        }
        for (schedule, why) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("* * L * *", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
        ] {
            assert_eq!(parse(schedule), Err(why.to_owned()), "{schedule}");
        }
        assert_eq!(zone_problems("../etc/passwd"), ["unknown time zone ../etc/passwd"]);
    }
}
