//! Counting watch events in a stream without parsing them: one JSON object a line, its `type` first.

const HEAD: usize = 40;

/// Counts the events of a watch as its bytes come, in pieces of any size.
#[derive(Default)]
pub struct Lines {
    head: Vec<u8>,
    /// Whole events seen.
    pub events: usize,
    /// Of them, those of type ERROR.
    pub errors: usize,
}

impl Lines {
    /// Takes the next piece of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end]);
            self.finish();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self) {
        if self.head.is_empty() {
            return;
        }
        self.events += 1;
        if find(&self.head, b"\"ERROR\"").is_some() {
            self.errors += 1;
        }
        self.head.clear();
    }
}

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_split_anywhere_are_counted_once() {
        let stream =
            b"{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"MODIFIED\",\"object\":{}}\n{\"type\":\"ERROR\"}\n";
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            stream.chunks(size).for_each(|piece| lines.feed(piece));
            assert_eq!((lines.events, lines.errors), (3, 1), "in pieces of {size}");
        }
    }
}
