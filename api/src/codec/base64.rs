//! Base64 as Go's decoder takes it: line breaks are skipped, and the last symbol may have bits to spare.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The text as it is written again; or Go's sentence about the byte that is wrong.
pub(super) fn canonical(text: Cow<'_, str>) -> Result<String, String> {
    let plain = if text.contains(['\r', '\n']) { Cow::Owned(text.replace(['\r', '\n'], "")) } else { text.clone() };
    match LENIENT.decode(plain.as_bytes()) {
        Ok(bytes) => {
            let exact = plain.len() % 4 == 0 && !plain.ends_with('=');
            Ok(if exact { plain.into_owned() } else { LENIENT.encode(bytes) })
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", fault(text.as_bytes()))),
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    LENIENT.encode(bytes)
}

/// The place of the byte that Go's decoder complains of.
fn fault(text: &[u8]) -> usize {
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    // Bytes of the group of four that is being read.
    let (mut at, mut have) = (0, 0);
    while at < text.len() {
        let byte = text[at];
        at += 1;
        match byte {
            _ if is_break(byte) => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => have = (have + 1) % 4,
            b'=' if have >= 2 => {
                let skip = |from: usize| from + text[from..].iter().take_while(|byte| is_break(**byte)).count();
                if have == 2 {
                    at = skip(at);
                    match text.get(at) {
                        None => return text.len(),
                        Some(b'=') => at += 1,
                        Some(_) => return at - 1,
                    }
                }
                return skip(at);
            }
            _ => return at - 1,
        }
    }
    text.len() - have
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_decoder_is_lenient() {
        for (text, again) in [("YQ==", "YQ=="), ("YR==", "YQ=="), ("Y\nQ=\n=\n", "YQ=="), ("", ""), ("YWJj", "YWJj")] {
            assert_eq!(canonical(text.into()).as_deref(), Ok(again));
        }
    }

    #[test]
    fn the_wrong_byte_is_named() {
        for (text, at) in [
            ("a_b", 1),
            ("YQ", 0),
            ("YWJjYQ", 4),
            ("Y", 0),
            ("YQ===", 4),
            ("YQ==YQ==", 4),
            ("YQ=x", 2),
            ("YQ=", 3),
            ("=", 0),
            ("YWJj=", 4),
        ] {
            assert_eq!(canonical(text.into()), Err(format!("illegal base64 data at input byte {at}")), "{text}");
        }
    }
}
