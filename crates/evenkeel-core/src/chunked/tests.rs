use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Whole {
    body: Vec<u8>,
    trailers: Vec<u8>,
    consumed: usize,
    ended: bool,
}

/// Decodes `input` as it arrives in pieces cut at `cuts`.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Whole, ChunkError> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut decoder = ChunkDecoder::default();
    let mut whole = Whole::default();
    let mut start = 0;
    for end in ends {
        let mut piece = input[start..end].to_vec();
        let decoded = decoder.decode_in_place(&mut piece, &mut whole.trailers)?;
        whole.body.extend_from_slice(&piece[..decoded.body_len]);
        whole.consumed += decoded.consumed;
        whole.ended = decoded.ended;
        assert!(decoded.ended || decoded.consumed == piece.len());
        start = end;
    }
    Ok(whole)
}

#[test]
fn legal_bodies() {
    let quoted = b"5;a=\"b;\\\"\xff\t\";c\r\nhello\r\n0;last=1\r\n\r\n".as_slice();
    // (input, body, trailers, bytes left for the next message)
    let cases: [(&[u8], &str, &str, usize); 9] = [
        (b"0\r\n\r\n", "", "", 0),
        (b"5\r\nhello\r\n0\r\n\r\nGET", "hello", "", 3),
        (b"000\r\n\r\n", "", "", 0),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "", 0),
        (b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", "", 0),
        (b"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", "", 0),
        (b"5;a;b=c\r\nhello\r\n0\r\n\r\n", "hello", "", 0),
        (quoted, "hello", "", 0),
        (b"0\r\nA: b\r\nx-c:\r\n\r\n\r\n", "", "A: b\r\nx-c:\r\n", 2),
    ];
    for (input, body, trailers, left) in cases {
        let whole = decode(input, &[]);
        let expected = Whole {
            body: body.into(),
            trailers: trailers.into(),
            consumed: input.len() - left,
            ended: true,
        };
        assert_eq!(whole, Ok(expected), "{}", input.escape_ascii());
    }
}

#[test]
fn refused_bodies() {
    use ChunkError::*;
    let cases: [(&[u8], ChunkError); 41] = [
        // Line ends: CRLF and nothing else.
        (b"5\nhello\r\n0\r\n\r\n", LineEnd),
        (b"5\rX", LineEnd),
        (b"5\r\r\n", LineEnd),
        (b"5\r\nhello\n", LineEnd),
        (b"5\r\nhello\rX", LineEnd),
        (b"5\r\nhelloX\r\n", LineEnd),
        (b"5\r\nhello0\r\n\r\n", LineEnd),
        (b"0\n\n", LineEnd),
        (b"0\r\n\n", LineEnd),
        (b"0\r\n\rX", LineEnd),
        (b"5;a\nhello", LineEnd),
        (b"5;a=b\n", LineEnd),
        // Chunk sizes.
        (b"0x5\r\n", Size),
        (b"+5\r\n", Size),
        (b"-5\r\n", Size),
        (b" 5\r\n", Size),
        (b"5 \r\n", Size),
        (b"5\t\r\n", Size),
        (b"5_0\r\n", Size),
        (b"\r\n", Size),
        (b"\n", Size),
        (b";a\r\n", Size),
        (b"g\r\n", Size),
        (b"5\r\nhello\r\n\r\n", Size),
        (b"ffffffffffffffff1\r\n", SizeTooLarge),
        (b"ffffffffffffffff\r\n", SizeTooLarge),
        (b"8000000000000000\r\n", SizeTooLarge),
        (b"0000000000000000000000000000000000000000\r\n", SizeTooLarge),
        (b"00000000000000005\r\n", SizeTooLarge),
        // Extensions.
        (b"5;\n", Extension),
        (b"5;\r\n", Extension),
        (b"5;a=\nb", Extension),
        (b"5;a=\r\n", Extension),
        (b"5;\x00", Extension),
        (b"5;a=\"b\r\n", Extension),
        (b"5; a\r\n", Extension),
        // Trailers.
        (b"0\r\nHost x\r\n\r\n", Trailer),
        (b"0\r\nA : b\r\n\r\n", Trailer),
        (b"0\r\n: b\r\n\r\n", Trailer),
        (b"0\r\nA: b\r\n c\r\n\r\n", Trailer),
        (b"0\r\nA: b\x00\r\n\r\n", Trailer),
    ];
    for (input, error) in cases {
        assert_eq!(decode(input, &[]), Err(error), "{}", input.escape_ascii());
    }
    assert_eq!(decode(b"0\r\nA: b\rC: d\r\n\r\n", &[]), Err(LineEnd));
    assert_eq!(decode(b"0\r\nA: b\nC: d\r\n\r\n", &[]), Err(LineEnd));
}

#[test]
fn the_largest_size_is_held() {
    let mut decoder = ChunkDecoder::default();
    let input = b"7fffffffffffffff\r\nabc";
    let mut pos = 0;
    let step = decoder.step(input, &mut pos, &mut Vec::new());
    assert_eq!(step, Ok(ChunkStep::Data(18..21)));
    assert_eq!(decoder.remaining, MAX_CHUNK_BYTES - 3);
}

#[test]
fn bounds() {
    let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
    let body = |chunks: &[String]| decode(format!("{}0\r\n\r\n", chunks.concat()).as_bytes(), &[]);
    assert!(body(&[chunk(256)]).is_ok());
    assert_eq!(body(&[chunk(257)]), Err(ChunkError::ExtensionTooLong));
    assert!(body(&vec![chunk(256); 64]).is_ok());
    assert_eq!(body(&vec![chunk(256); 65]), Err(ChunkError::ExtensionTooLong));

    let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(bytes - 4));
    let whole = decode(trailer(16 * 1024).as_bytes(), &[]);
    assert!(whole.is_ok_and(|whole| whole.trailers.len() == 16 * 1024));
    let refused = decode(trailer(16 * 1024 + 1).as_bytes(), &[]);
    assert_eq!(refused, Err(ChunkError::TrailersTooLong));
    assert!(size_of::<ChunkDecoder>() <= 48);
}

#[test]
fn ended_and_failed_stay_so() {
    let mut trailers = Vec::new();
    let mut ended = ChunkDecoder::default();
    let mut pos = 0;
    assert_eq!(ended.step(b"0\r\n\r\n5\r\n", &mut pos, &mut trailers), Ok(ChunkStep::End));
    assert_eq!(ended.step(b"0\r\n\r\n5\r\n", &mut pos, &mut trailers), Ok(ChunkStep::End));
    assert_eq!(pos, 5);

    let mut failed = ChunkDecoder::default();
    assert_eq!(failed.step(b"x", &mut 0, &mut trailers), Err(ChunkError::Size));
    assert_eq!(failed.step(b"0\r\n\r\n", &mut 0, &mut trailers), Err(ChunkError::Size));
}

#[test]
fn chunk_heads() {
    let cases = [
        (0, "0\r\n"),
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0xabcdef, "abcdef\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ];
    for (len, expected) in cases {
        let mut out = [0; 18];
        let written = write_chunk_head(len, &mut out);
        assert_eq!(&out[..written], expected.as_bytes());
    }
}

/// Bytes that are mostly framing, so that random input gets somewhere.
fn framing_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "\r\n", "\r\n", "\r\n", "0", "1", "2", "5", "f", ";", "a", "=", "\"", "\\", ":", "A: b",
        " ", "\r", "\n", "hello", "\0",
    ]);
    vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

fn extension() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", ";a", ";b=\"c\""])
}

proptest! {
    #[test]
    fn any_split_gives_the_same_bytes(
        chunks in vec((vec(any::<u8>(), 1..40), extension()), 0..6),
        trailers in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nC:d\r\n"]),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let mut input = Vec::new();
        let mut body = Vec::new();
        for (bytes, extension) in &chunks {
            input.extend(format!("{:x}{extension}\r\n", bytes.len()).bytes());
            input.extend(bytes.iter().chain(b"\r\n"));
            body.extend_from_slice(bytes);
        }
        input.extend(format!("0\r\n{trailers}\r\n").bytes());
        let consumed = input.len();
        let trailers = trailers.as_bytes().to_vec();
        let expected = Whole { body, trailers, consumed, ended: true };
        prop_assert_eq!(decode(&input, &cuts), Ok(expected));
    }

    #[test]
    fn splits_do_not_change_what_any_bytes_mean(
        input in framing_bytes(),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = decode(&input, &[]);
        prop_assert_eq!(decode(&input, &cuts), whole);
    }

    #[test]
    fn any_bytes(input in vec(any::<u8>(), 0..200)) {
        if let Ok(whole) = decode(&input, &[]) {
            prop_assert!(whole.body.len() + whole.trailers.len() <= whole.consumed);
            prop_assert!(whole.consumed <= input.len());
        }
    }
}
