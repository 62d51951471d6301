//! `Accept` (RFC 9110 section 12.5.1): how much a client likes each of the media types that there
//! are.

/// A media type, such as `("text", "plain")`.
pub type MediaType = (&'static str, &'static str);

/// How exactly a media range names a type: what `*/*` says counts only if nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// `*/*`.
    Anything,
    /// `text/*`.
    TopLevel,
    /// `text/plain`, whatever its parameters.
    Exact,
}

/// The weight of a media range, in thousandths.
pub type Quality = u16;
const FULL_QUALITY: Quality = 1_000;

/// What the most precise of the ranges that cover a media type says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liking {
    /// How much it is liked; at 0 it is excluded.
    pub quality: Quality,
    /// How exactly it is named.
    pub precision: Precision,
    /// Which range of the list says so, counted from 0.
    pub range: usize,
}

/// What a client says of each of `types`; `None` where no range covers it. What is no range is
/// passed over.
pub fn likings<const N: usize>(accept: &[u8], types: &[MediaType; N]) -> [Option<Liking>; N] {
    let mut likings = [None; N];
    for (range, text) in accept.split(|byte| *byte == b',').enumerate() {
        let Some(MediaRange { top, sub, quality }) = parse_range(text) else { continue };
        for (media_type, liking) in types.iter().zip(&mut likings) {
            let Some(precision) = covers((top, sub), *media_type) else { continue };
            let known = liking.map(|known: Liking| (known.precision, known.quality));
            if known.is_none_or(|known| known < (precision, quality)) {
                *liking = Some(Liking { quality, precision, range });
            }
        }
    }
    likings
}

fn covers((top, sub): (&[u8], &[u8]), (own_top, own_sub): MediaType) -> Option<Precision> {
    let is_own_top = top.eq_ignore_ascii_case(own_top.as_bytes());
    match (top, sub) {
        (b"*", b"*") => Some(Precision::Anything),
        (_, b"*") => is_own_top.then_some(Precision::TopLevel),
        (_, sub) => {
            let is_own = is_own_top && sub.eq_ignore_ascii_case(own_sub.as_bytes());
            is_own.then_some(Precision::Exact)
        }
    }
}

/// One of the ranges of the list.
struct MediaRange<'a> {
    top: &'a [u8],
    sub: &'a [u8],
    quality: Quality,
}

/// One media range and its weight; parameters other than `q` are not looked at. `None` if it is
/// not one.
fn parse_range(text: &[u8]) -> Option<MediaRange<'_>> {
    let mut parts = text.split(|byte| *byte == b';');
    let (top, sub) = split_once(parts.next()?.trim_ascii(), b'/')?;
    let mut quality = FULL_QUALITY;
    for parameter in parts {
        if let Some((name, value)) = split_once(parameter, b'=')
            && name.trim_ascii().eq_ignore_ascii_case(b"q")
        {
            quality = parse_quality(value.trim_ascii())?;
            break;
        }
    }
    Some(MediaRange { top, sub, quality })
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == at)?;
    Some((&text[..at], &text[at + 1..]))
}

/// `0`, `1`, and up to three digits after the point.
fn parse_quality(text: &[u8]) -> Option<Quality> {
    let (whole, fraction) = split_once(text, b'.').unwrap_or((text, b""));
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|digit| Quality::from(digit - b'0')).zip([100, 10, 1]);
    let thousandths = digits.map(|(digit, place)| digit * place).sum();
    match (whole, thousandths) {
        (b"0", thousandths) => Some(thousandths),
        (b"1", 0) => Some(FULL_QUALITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [MediaType; 2] = [("application", "json"), ("text", "plain")];

    #[test]
    fn the_most_precise_range_decides() {
        use Precision::{Anything, Exact, TopLevel};
        let cases = [
            ("*/*", [Some((1_000, Anything, 0)), Some((1_000, Anything, 0))]),
            ("text/*;q=0.5", [None, Some((500, TopLevel, 0))]),
            ("*/*, text/*;q=0.5", [Some((1_000, Anything, 0)), Some((500, TopLevel, 1))]),
            ("text/*, TEXT/Plain; v=1 ; Q=0", [None, Some((0, Exact, 1))]),
            (
                "text/plain;q=0.1, application/json",
                [Some((1_000, Exact, 1)), Some((100, Exact, 0))],
            ),
            ("text/plain;q=0.1, text/plain;q=0.2", [None, Some((200, Exact, 1))]),
            ("text/plain;q=2", [None, None]),
            ("", [None, None]),
            (",;=,/,q=1,json,\u{1b}, text/plain", [None, Some((1_000, Exact, 6))]),
        ];
        for (accept, expected) in cases {
            let likings = likings(accept.as_bytes(), &TYPES)
                .map(|it| it.map(|it| (it.quality, it.precision, it.range)));
            assert_eq!(likings, expected, "{accept:?}");
        }
    }

    #[test]
    fn weights_have_at_most_three_digits() {
        let cases = [
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.005", Some(5)),
            ("1.001", None),
            ("0.0005", None),
            ("-1", None),
            ("+0.5", None),
            ("0.+5", None),
            ("", None),
            (".5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_quality(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(accept in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = likings(&accept, &TYPES);
        }
    }
}
