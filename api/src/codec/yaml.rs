//! YAML bodies, with YAML 1.1's scalars (`yes` is true), as `sigs.k8s.io/yaml` reads and writes them.

mod emit;
mod scalar;

pub use emit::encode;

use super::words::Words;
use super::{DecodeError, Decoded, MAX_DEPTH, Problem, json, repeats, visit};
use crate::schema::TypeRef;
use serde::Deserialize;
use serde_json::Value;
use std::panic::resume_unwind;
use std::thread;

/// Decodes one YAML document of a type; what follows the first document is ignored. Depth and aliases are
/// bounded; size is the caller's to limit.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    // Clients mostly send JSON, which is YAML: kubectl's server-side apply does.
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(decoded) = json::decode(bytes, ty)
        && decoded.problems.is_empty()
    {
        return Ok(decoded);
    }
    // As upstream, the YAML becomes JSON before anything is looked at: of keys that come twice the last one is left, and
    // keys are in order. That some did come twice is found apart.
    let tree = with(bytes, |reader| Value::deserialize(reader)).map_err(DecodeError::Yaml)?;
    let decoded = visit::decode(tree, ty, Words::Yaml);
    let decoded = decoded.map_err(|why: serde_json::Error| DecodeError::Yaml(why.to_string()))?;
    let mut decoded = decoded.map_err(|mismatch| mismatch.into_error(&[]))?;
    let mut problems = problems(bytes);
    problems.append(&mut decoded.problems);
    Ok(Decoded { problems, ..decoded })
}

/// Decodes YAML without a schema.
pub fn decode_any(bytes: &[u8]) -> Result<Value, String> {
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return Ok(value);
    }
    with(bytes, |reader| Value::deserialize(reader))
}

/// What field validation finds in a document that has no schema: keys that come twice.
pub fn problems(bytes: &[u8]) -> Vec<Problem> {
    let lines = with(bytes, |reader| repeats::lines(reader)).unwrap_or_default();
    if lines.is_empty() { Vec::new() } else { vec![Problem::Yaml(lines)] }
}

/// The thread that reads YAML. The reader recurses with each level of nesting and takes much of the stack for it, more than
/// the threads that answer requests have.
pub const THREAD: &str = "yaml";
/// Bytes of its stack, of which only those that are used take memory.
pub const STACK: usize = 32 << 20;
/// As many as a body has bytes: that a body is not too large is the caller's to see to.
const EVENTS: usize = 3 << 20;

/// Reads a document on a stack that is large enough.
fn with<R: Send>(
    bytes: &[u8],
    read: impl for<'de, 'e> Fn(serde_saphyr::Deserializer<'de, 'e>) -> Result<R, serde_saphyr::Error> + Send,
) -> Result<R, String> {
    if thread::current().name() == Some(THREAD) {
        return read_here(bytes, read);
    }
    thread::scope(|scope| {
        let reader = thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
        match reader.spawn_scoped(scope, || read_here(bytes, read)) {
            Ok(running) => running.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(why) => Err(format!("yaml: {why}")),
        }
    })
}

fn read_here<R>(
    bytes: &[u8],
    read: impl for<'de, 'e> Fn(serde_saphyr::Deserializer<'de, 'e>) -> Result<R, serde_saphyr::Error>,
) -> Result<R, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_events: EVENTS,
            max_nodes: EVENTS,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        strict_booleans: false,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let run = |bytes| serde_saphyr::with_deserializer_from_slice_with_options(bytes, options.clone(), &read);
    let result = match run(bytes) {
        Err(serde_saphyr::Error::MultipleDocuments { .. }) => run(first_document(bytes)),
        other => other,
    };
    result.map_err(|error| sentence(&error, bytes))
}

/// The text up to the marker after the first document.
fn first_document(bytes: &[u8]) -> &[u8] {
    let (mut at, mut has_content) = (0, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_marker = line.starts_with(b"---") && matches!(line.get(3), None | Some(b' ' | b'\t' | b'\r' | b'\n'));
        if has_content && (is_marker || line.starts_with(b"...")) {
            return &bytes[..at];
        }
        let text = if is_marker { &line[3..] } else { line };
        has_content |= is_marker || !matches!(text.trim_ascii_start().first(), None | Some(b'#' | b'%'));
        at += line.len();
    }
    bytes
}

/// What is wrong, in the form of Go's parser.
fn sentence(error: &serde_saphyr::Error, bytes: &[u8]) -> String {
    let text = error.without_snippet().to_string();
    // The place leads in Go's sentences, and what was being parsed is left out.
    let (text, _) = text.split_once(" at line ").unwrap_or((&text, ""));
    let text = if text.starts_with("while ") { text.split_once(", ").map_or(text, |(_, what)| what) } else { text };
    let text = match text {
        _ if text.starts_with("tabs disallowed") || text.starts_with("unexpected character") => {
            "found character that cannot start any token"
        }
        _ if text.starts_with("budget breached: Depth") => return "yaml: exceeded max depth".to_owned(),
        _ if text.starts_with("budget breached") => return "yaml: document contains excessive aliasing".to_owned(),
        "input is not valid UTF-8" => return "yaml: invalid leading UTF-8 octet".to_owned(),
        "unclosed quote" => "found unexpected end of stream",
        // After these a value is due, at the end of the text too.
        _ if text.starts_with("unclosed bracket")
            && matches!(bytes.trim_ascii_end().last(), Some(b'[' | b'{' | b',' | b':')) =>
        {
            "did not find expected node content"
        }
        _ if text.starts_with("unclosed bracket '{'") => "did not find expected ',' or '}'",
        _ if text.starts_with("unclosed bracket '['") => "did not find expected ',' or ']'",
        text => text,
    };
    if text == "alias references unknown anchor" {
        return format!("yaml: unknown anchor '{}' referenced", anchor_at(error, bytes));
    }
    // Go's parser counts lines from zero, its scanner from one; neither names the first. What is not closed is missed at the
    // end.
    let at_end = text.starts_with("did not find expected ','")
        || text == "did not find expected node content"
        || text == "found unexpected end of stream";
    let line = match error.location() {
        _ if at_end => bytes.split_inclusive(|byte| *byte == b'\n').count() as u64 + 1,
        location => location.map_or(0, |location| location.line()),
    };
    let line = if text.starts_with("did not find expected") || line == 1 { line.saturating_sub(1) } else { line };
    if line == 0 { format!("yaml: {text}") } else { format!("yaml: line {line}: {text}") }
}

/// The name after the star at an error's place.
fn anchor_at(error: &serde_saphyr::Error, bytes: &[u8]) -> String {
    let place = error.location().map_or((1, 1), |place| (place.line() as usize, place.column() as usize));
    let line = bytes.split(|byte| *byte == b'\n').nth(place.0.saturating_sub(1)).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let name = line.chars().skip(place.1.saturating_sub(1)).skip_while(|c| *c == '*');
    name.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}
