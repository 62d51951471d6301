//! A request whose path may have the number of the request in it.

use bytes::Bytes;

/// What stands for the number in a path.
pub(crate) const PLACEHOLDER: &str = "{seq}";

/// The bytes of a request.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// As it was rendered.
    template: Bytes,
    /// Where the placeholders of its path are.
    places: Vec<usize>,
    /// With the last number, if it has one.
    filled: Vec<u8>,
}

impl Numbered {
    /// Only the first line, up to `line_end`, can have a number.
    pub(crate) fn new(template: Bytes, line_end: usize) -> Numbered {
        let line = &template[..line_end.min(template.len())];
        let is_one = |at: &usize| line[*at..].starts_with(PLACEHOLDER.as_bytes());
        let places = (0..line.len()).filter(is_one).collect();
        Numbered { template, places, filled: Vec::new() }
    }

    /// The next request has this number.
    pub(crate) fn number(&mut self, seq: u64) {
        if self.places.is_empty() {
            return;
        }
        self.filled.clear();
        let mut from = 0;
        for place in &self.places {
            self.filled.extend_from_slice(&self.template[from..*place]);
            self.filled.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
            from = place + PLACEHOLDER.len();
        }
        self.filled.extend_from_slice(&self.template[from..]);
    }

    /// As it is to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.places.is_empty() { &self.template } else { &self.filled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_in_the_path_and_nowhere_else() {
        let text = "GET /{seq}/a?n={seq} HTTP/1.1\r\nX: {seq}\r\n\r\n";
        let end = text.find('\r').expect("a line");
        let mut request = Numbered::new(Bytes::from_static(text.as_bytes()), end);
        for (seq, line) in [(1, "GET /1/a?n=1 HTTP/1.1"), (1234, "GET /1234/a?n=1234 HTTP/1.1")] {
            request.number(seq);
            let wanted = format!("{line}\r\nX: {{seq}}\r\n\r\n");
            assert_eq!(String::from_utf8_lossy(request.bytes()), wanted);
        }
        let plain = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
        let mut request = Numbered::new(plain.clone(), plain.len());
        request.number(7);
        assert_eq!(request.bytes(), plain);
    }
}
