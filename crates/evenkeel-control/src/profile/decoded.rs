//! Reads a profile again, for tests: the other half of `message`, written against `profile.proto`.

use std::collections::HashMap;

/// What a profile says.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Names of the values of a sample.
    pub(super) values: Vec<String>,
    pub(super) default_value: String,
    pub(super) period: i64,
    /// Names of functions, innermost first, and the values.
    pub(super) samples: Vec<(Vec<String>, Vec<i64>)>,
}

/// A number, or bytes.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Decoded {
    pub(super) fn from(message: &[u8]) -> Decoded {
        let whole = fields(message);
        let parts = |wanted: u64| {
            whole.iter().filter_map(move |(number, field)| match field {
                Field::Bytes(bytes) if *number == wanted => Some(*bytes),
                Field::Bytes(_) | Field::Number(_) => None,
            })
        };
        let texts: Vec<String> =
            parts(6).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
        let text = |place: u64| texts[usize::try_from(place).unwrap()].clone();
        let functions: HashMap<u64, String> =
            parts(5).map(|part| (number(part, 1), text(number(part, 2)))).collect();
        let mut locations: HashMap<u64, Vec<String>> = HashMap::new();
        for location in parts(4) {
            let lines = fields(location).into_iter().filter_map(|(at, field)| match field {
                Field::Bytes(line) if at == 4 => Some(functions[&number(line, 1)].clone()),
                Field::Bytes(_) | Field::Number(_) => None,
            });
            locations.insert(number(location, 1), lines.collect());
        }
        let sample = |part: &[u8]| {
            let stack = packed(part, 1).into_iter().flat_map(|id| locations[&id].clone());
            (stack.collect(), packed(part, 2).into_iter().map(u64::cast_signed).collect())
        };
        Decoded {
            values: parts(1).map(|part| text(number(part, 1))).collect(),
            default_value: text(number(message, 14)),
            period: number(message, 12).cast_signed(),
            samples: parts(2).map(sample).collect(),
        }
    }
}

fn number(message: &[u8], wanted: u64) -> u64 {
    let found = fields(message).into_iter().find_map(|(at, field)| match field {
        Field::Number(value) if at == wanted => Some(value),
        Field::Number(_) | Field::Bytes(_) => None,
    });
    found.unwrap_or(0)
}

fn packed(message: &[u8], wanted: u64) -> Vec<u64> {
    let mut values = Vec::new();
    for (at, field) in fields(message) {
        if let Field::Bytes(mut rest) = field
            && at == wanted
        {
            while !rest.is_empty() {
                values.push(varint(&mut rest));
            }
        }
    }
    values
}

fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = varint(&mut rest);
        let field = match key & 7 {
            0 => Field::Number(value),
            2 => {
                let (bytes, after) = rest.split_at(usize::try_from(value).unwrap());
                rest = after;
                Field::Bytes(bytes)
            }
            kind => panic!("wire type {kind}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().expect("a whole number");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
