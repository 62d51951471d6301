//! RFC 7541: how fields are packed.

use crate::stage::{
    COMPRESSION_ERROR, Case, Expected::*, PROTOCOL_ERROR, Step, case, hold, settings,
};
use evenkeel_testkit::frames::{END_HEADERS, END_STREAM, HEADERS, block, frame};

/// GET, http and / of the static table, and an authority.
const REQUEST: &[u8] = b"\x82\x86\x84\x01\x01x";

/// A request that ends with these bytes.
fn packed(rule: &'static str, rest: &[u8], expected: crate::stage::Expected) -> Case {
    let bytes = [REQUEST, rest].concat();
    (rule, vec![Step::Send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bytes))], expected)
}

/// The library that unpacks them says PROTOCOL_ERROR of some; the connection ends all the same.
const BROKEN: crate::stage::Expected = Ends(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);

#[test]
fn fields_that_cannot_be_unpacked() {
    hold(&[
        packed("2.3.3 an index beyond the tables", b"\xc6", BROKEN),
        packed("2.3.3 the index of a name beyond the tables", b"\x7f\x07\x02ok", BROKEN),
        packed("4.2 a size of the table after a field", b"\x3f\x00", BROKEN),
        packed("5.1 an integer without an end", &[0xff; 12], BROKEN),
        packed(
            "5.2 more than seven bits of padding",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",
            BROKEN,
        ),
        packed("5.2 padding of zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90", BROKEN),
        packed(
            "5.2 the end of a string as a symbol",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x88\x49\x51\x87\xff\xff\xff\xfa\x7f",
            BROKEN,
        ),
        packed("6.1 index 0", b"\x80", BROKEN),
        packed("a string longer than its block", b"\x40\x0aabc", BROKEN),
        case(
            "6.3 a table larger than agreed",
            &[&frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                &[b"\x3f\xff\xff\x03", REQUEST].concat(),
            )],
            BROKEN,
        ),
    ]);
}

#[test]
fn every_way_to_pack_a_field() {
    // `user-agent: ok` by the index of its name, and `x-test: ok`; plain and in Huffman's code.
    let indexed: [&[u8]; 2] = [b"\x02ok", b"\x82\x3f\x5f"];
    let named: [&[u8]; 2] = [b"\x06x-test\x02ok", b"\x85\xf2\xb2\x4a\x84\xff\x82\x3f\x5f"];
    let mut cases = Vec::new();
    for first in [0x40, 0x00, 0x10] {
        for rest in indexed {
            let name: &[u8] = if first == 0x40 { &[0x7a] } else { &[first | 0x0f, 43] };
            cases.push(packed("6.2 the index of a name", &[name, rest].concat(), Answered(1)));
        }
        for rest in named {
            cases.push(packed("6.2 a new name", &[&[first], rest].concat(), Answered(1)));
        }
    }
    cases.push(packed("6.1 an index", b"\x90", Answered(1)));
    let smaller = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&b"\x20"[..], REQUEST].concat());
    cases.push(case("6.3 a size of the table", &[&smaller], Answered(1)));
    let twice = [b"\x40\x01a\x01b".as_slice(), b"\xbe"].concat();
    cases.push(packed("2.3.2 an entry of the dynamic table", &twice, Answered(1)));
    let plain = frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        1,
        &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]),
    );
    cases.push(case("a client without a table", &[&settings(&[(1, 0)]), &plain], Answered(1)));
    hold(&cases);
}
