//! What a collector says that it did not keep, although it answers 200: `partial_success` of its
//! answer, as `trace_service.proto` of OTLP has it. The exporter keeps it to itself.

/// Of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) spans: u64,
    /// In the collector's words.
    pub(super) why: String,
}

const PARTIAL_SUCCESS: u64 = 1;
const REJECTED_SPANS: u64 = 1;
const ERROR_MESSAGE: u64 = 2;
/// Of the words as many are repeated.
const MAX_WORDS: usize = 512;

/// A number, or bytes, as protobuf has them on the wire; others are passed over.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl Refused {
    /// What an answer in protobuf says; `None` if all was kept, or if it is no such answer.
    pub(super) fn in_answer(mut answer: &[u8]) -> Option<Refused> {
        let (mut spans, mut why) = (0, String::new());
        while let Some((number, field)) = next(&mut answer) {
            let (PARTIAL_SUCCESS, Field::Bytes(mut partial)) = (number, field) else { continue };
            while let Some((number, field)) = next(&mut partial) {
                match (number, field) {
                    // It is an int64, of which a negative one makes no sense.
                    (REJECTED_SPANS, Field::Number(count)) if count.cast_signed() > 0 => {
                        spans = count;
                    }
                    (ERROR_MESSAGE, Field::Bytes(words)) => {
                        why = String::from_utf8_lossy(&words[..words.len().min(MAX_WORDS)]).into();
                    }
                    _ => {}
                }
            }
        }
        (spans > 0).then_some(Refused { spans, why })
    }
}

/// The next field and its number; `None` at the end, and where it makes no sense any more.
fn next<'a>(message: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(message)?;
    let field = match key & 7 {
        0 => Field::Number(varint(message)?),
        1 => take(message, 8).map(|_| Field::Other)?,
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            Field::Bytes(take(message, length)?)
        }
        5 => take(message, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((key >> 3, field))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_kept_is_read() {
        let refused = |spans, why: &str| Some(Refused { spans, why: why.to_owned() });
        let cases: [(&[u8], Option<Refused>); 10] = [
            (b"", None),
            (b"{}", None),
            (b"\x0a\x00", None),
            (b"\x0a\x05\x08\x03\x12\x01x", refused(3, "x")),
            (b"\x0a\x03\x08\xac\x02", refused(300, "")),
            (b"\x0a\x04\x12\x02hm", None),
            (b"\x19abcdefgh\x25abcd\x10\x07\x0a\x02\x08\x01", refused(1, "")),
            (b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            (b"\x0a\x7f\x08\x01", None),
            (b"\x0a\x02\x08\x80", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(Refused::in_answer(answer), expected, "{answer:?}");
        }
        let long = [b"\x0a\x87\x08\x08\x01\x12\x82\x08".as_slice(), &[b'w'; 1026]].concat();
        let words = Refused::in_answer(&long).map(|refused| refused.why.len());
        assert_eq!(words, Some(MAX_WORDS));
    }
}
