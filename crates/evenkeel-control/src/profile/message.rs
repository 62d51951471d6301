//! Profiles as messages of `profile.proto` (github.com/google/pprof/proto), encoded by hand: a
//! few fields of five messages do not need a compiler for schemas.

use std::collections::HashMap;

/// A name and its unit.
pub(super) type Unit = (&'static str, &'static str);

/// One function on a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: i64,
}

/// What a profile says of itself.
pub(super) struct Heading {
    /// What each value of a sample is.
    pub(super) values: Vec<Unit>,
    /// The name of the one to look at unless somebody asks for another.
    pub(super) default_value: &'static str,
    /// What is between two samples, and how much of it.
    pub(super) period: (Unit, i64),
    /// When it began, in nanoseconds since 1970, and how long it took.
    pub(super) time: (i64, i64),
    /// For who looks at it.
    pub(super) comment: &'static str,
}

/// A profile under construction.
pub(super) struct Message {
    body: Vec<u8>,
    strings: HashMap<String, i64>,
    texts: Vec<String>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<Vec<Function>, u64>,
}

impl Message {
    pub(super) fn new() -> Message {
        let mut message = Message {
            body: Vec::new(),
            strings: HashMap::new(),
            texts: Vec::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        // The first string is empty by definition.
        message.string("");
        // One mapping, whose functions have their names already: nobody looks for a binary.
        let mut mapping = Vec::new();
        put(&mut mapping, 1, 1);
        put(&mut mapping, 7, 1);
        bytes(&mut message.body, 3, &mapping);
        message
    }

    /// Adds a sample: its stack, the innermost first, each with what was inlined into it, innermost
    /// first; and one value for each of the heading.
    pub(super) fn sample(&mut self, stack: &[Vec<Function>], values: &[i64], thread: &str) {
        let locations: Vec<u64> = stack.iter().map(|frame| self.location(frame)).collect();
        let mut sample = Vec::new();
        bytes(&mut sample, 1, &packed(locations));
        bytes(&mut sample, 2, &packed(values.iter().map(|value| value.cast_unsigned())));
        if !thread.is_empty() {
            let mut label = Vec::new();
            put(&mut label, 1, self.string("thread").cast_unsigned());
            put(&mut label, 2, self.string(thread).cast_unsigned());
            bytes(&mut sample, 3, &label);
        }
        bytes(&mut self.body, 2, &sample);
    }

    /// The whole profile.
    pub(super) fn finish(mut self, heading: &Heading) -> Vec<u8> {
        for unit in &heading.values {
            let unit = self.unit(*unit);
            bytes(&mut self.body, 1, &unit);
        }
        let (time, duration) = heading.time;
        put(&mut self.body, 9, time.cast_unsigned());
        put(&mut self.body, 10, duration.cast_unsigned());
        let period = self.unit(heading.period.0);
        bytes(&mut self.body, 11, &period);
        put(&mut self.body, 12, heading.period.1.cast_unsigned());
        let comment = self.string(heading.comment);
        put(&mut self.body, 13, comment.cast_unsigned());
        let default_value = self.string(heading.default_value);
        put(&mut self.body, 14, default_value.cast_unsigned());
        for text in &self.texts {
            bytes(&mut self.body, 6, text.as_bytes());
        }
        self.body
    }

    fn unit(&mut self, (name, unit): Unit) -> Vec<u8> {
        let (name, unit) = (self.string(name), self.string(unit));
        let mut message = Vec::new();
        put(&mut message, 1, name.cast_unsigned());
        put(&mut message, 2, unit.cast_unsigned());
        message
    }

    fn location(&mut self, frame: &[Function]) -> u64 {
        if let Some(id) = self.locations.get(frame) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let mut location = Vec::new();
        put(&mut location, 1, id);
        put(&mut location, 2, 1);
        for function in frame {
            let mut line = Vec::new();
            put(&mut line, 1, self.function(function));
            put(&mut line, 2, function.line.cast_unsigned());
            bytes(&mut location, 4, &line);
        }
        bytes(&mut self.body, 4, &location);
        self.locations.insert(frame.to_vec(), id);
        id
    }

    fn function(&mut self, function: &Function) -> u64 {
        let key = (function.name.clone(), function.file.clone());
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        let (name, file) = (self.string(&function.name), self.string(&function.file));
        let mut message = Vec::new();
        put(&mut message, 1, id);
        // Without the name that the linker knows: readers then leave this one as it is.
        put(&mut message, 2, name.cast_unsigned());
        put(&mut message, 4, file.cast_unsigned());
        bytes(&mut self.body, 5, &message);
        self.functions.insert(key, id);
        id
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(place) = self.strings.get(text) {
            return *place;
        }
        let place = i64::try_from(self.texts.len()).unwrap_or(0);
        self.texts.push(text.to_owned());
        self.strings.insert(text.to_owned(), place);
        place
    }
}

/// A field with a number.
fn put(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// A field with bytes: a text, a message or packed numbers.
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn packed(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    values.into_iter().for_each(|value| varint(&mut out, value));
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_protocol_buffers_have_them() {
        let cases: [(u64, &[u8]); 4] = [
            (0, &[0]),
            (127, &[127]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (number, wanted) in cases {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(out, wanted, "{number}");
        }
    }

    #[test]
    fn what_is_said_twice_is_written_once() {
        let function = |name: &str| vec![Function { name: name.to_owned(), ..Function::default() }];
        let mut message = Message::new();
        message.sample(&[function("leaf"), function("root")], &[1, 2], "ek-worker-0");
        message.sample(&[function("leaf"), function("root")], &[3, 4], "ek-worker-0");
        let count = ("samples", "count");
        let heading = Heading {
            values: vec![count],
            default_value: "samples",
            period: (count, 1),
            time: (0, 1),
            comment: "",
        };
        let bytes = message.finish(&heading);
        for text in ["leaf", "root", "ek-worker-0", "samples"] {
            let found = bytes.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
            assert_eq!(found, 1, "{text}");
        }
    }
}
