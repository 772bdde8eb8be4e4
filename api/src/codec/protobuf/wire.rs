//! The wire format: numbers, lengths and keys.

use crate::codec::DecodeError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// An error in gogo's words.
pub(super) fn wrong<T>(why: impl Into<String>) -> Result<T> {
    Err(DecodeError::Type(why.into()))
}

/// Reads a message from its bytes.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b>(&'b [u8]);

/// A field's key, and what is needed to tell about it.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub tag: u32,
    pub wire: u8,
}

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next field of the message, `None` at its end. `message` is the type's name, for errors.
    pub fn key(&mut self, message: &str) -> Result<Option<Key>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let (tag, wire) = ((key >> 3) as i32, (key & 7) as u8);
        if wire == GROUP_END {
            return wrong(format!("proto: {message}: wiretype end group for non-group"));
        }
        if tag <= 0 {
            return wrong(format!("proto: {message}: illegal tag {tag} (wire type {key})"));
        }
        Ok(Some(Key { tag: tag as u32, wire }))
    }

    fn byte(&mut self) -> Result<u8> {
        let Some((first, rest)) = self.0.split_first() else { return wrong("unexpected EOF") };
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, count: u64) -> Result<&'b [u8]> {
        if count > i64::MAX as u64 {
            return wrong("proto: negative length found during unmarshaling");
        }
        let taken = usize::try_from(count).ok().and_then(|count| self.0.split_at_checked(count));
        let Some((taken, rest)) = taken else { return wrong("unexpected EOF") };
        self.0 = rest;
        Ok(taken)
    }

    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        wrong("proto: integer overflow")
    }

    pub fn fixed64(&mut self) -> Result<[u8; 8]> {
        self.take(8).map(|bytes| bytes.try_into().unwrap_or_default())
    }

    pub fn delimited(&mut self) -> Result<&'b [u8]> {
        let length = self.varint()?;
        self.take(length)
    }

    /// Passes over a field's value.
    pub fn skip(&mut self, wire: u8) -> Result<()> {
        let mut groups = 0;
        let mut wire = wire;
        loop {
            match wire {
                VARINT => drop(self.varint()?),
                FIXED64 => drop(self.take(8)?),
                LENGTH => drop(self.delimited()?),
                GROUP => groups += 1,
                GROUP_END => groups -= 1,
                FIXED32 => drop(self.take(4)?),
                _ => return wrong(format!("proto: illegal wireType {wire}")),
            }
            if groups == 0 {
                return Ok(());
            }
            wire = (self.varint()? & 7) as u8;
        }
    }
}

impl Key {
    /// Requires a wire type; `field` is the JSON name.
    pub fn expect(self, wire: u8, field: &str) -> Result<()> {
        if self.wire == wire {
            return Ok(());
        }
        let (first, rest) = field.split_at_checked(1).unwrap_or((field, ""));
        wrong(format!("proto: wrong wireType = {} for field {}{rest}", self.wire, first.to_ascii_uppercase()))
    }
}

/// Writes messages front to back. What has a length is written first and then moved behind it.
#[derive(Default)]
pub struct Writer {
    pub out: Vec<u8>,
}

/// The longest key and length.
const MAX_HEADER: usize = 3 + 10;

impl Writer {
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn key(&mut self, tag: u16, wire: u8) {
        self.number(u64::from(tag) << 3 | u64::from(wire));
    }

    pub fn varint(&mut self, tag: u16, value: u64) {
        self.key(tag, VARINT);
        self.number(value);
    }

    pub fn fixed64(&mut self, tag: u16, value: [u8; 8]) {
        self.key(tag, FIXED64);
        self.out.extend_from_slice(&value);
    }

    /// The key and the length of `length` bytes that come next.
    pub fn header(&mut self, tag: u16, length: usize) {
        self.key(tag, LENGTH);
        self.number(length as u64);
    }

    /// A string or bytes.
    pub fn text(&mut self, tag: u16, text: impl AsRef<[u8]>) {
        self.header(tag, text.as_ref().len());
        self.out.extend_from_slice(text.as_ref());
    }

    /// What `write` writes, with its key and length before it.
    pub fn message(&mut self, tag: u16, write: impl FnOnce(&mut Writer)) {
        let from = self.out.len();
        write(self);
        self.close(tag, from);
    }

    /// Puts the key and the length of what was written since `from` before it.
    pub fn close(&mut self, tag: u16, from: usize) {
        let end = self.out.len();
        self.out.reserve(MAX_HEADER);
        self.header(tag, end - from);
        let header = self.out.len() - end;
        self.out[from..].rotate_right(header);
    }
}
