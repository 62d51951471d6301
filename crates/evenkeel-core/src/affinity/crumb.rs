//! Cookies in a request's `Cookie` lines (RFC 6265, section 5.4), and parameters in its query.
//! Nothing is decoded, and nothing but what is asked for is touched.
//!
//! A crumb is one `NAME=VALUE` of a line; `;` stands between crumbs, also within double quotes, as
//! browsers have it. Blanks around a name or a value do not belong to it; the case of a name does.

const DQUOTE: u8 = b'"';

/// The value of the first cookie of this name in one line, without double quotes around it.
pub fn find_cookie<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut values = line.split(|byte| *byte == b';').filter_map(|crumb| value_of(crumb, name));
    values.next().map(|value| match value {
        [DQUOTE, inner @ .., DQUOTE] => inner,
        plain => plain,
    })
}

/// Appends one line without the cookies of this name; the others keep every byte. False, and
/// nothing appended, if no crumb is left: the field is then to be dropped.
pub fn strip_cookie(line: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut kept = 0;
    let mut gone = 0;
    let mut some_left = false;
    for crumb in line.split(|byte| *byte == b';') {
        if value_of(crumb, name).is_some() {
            gone += 1;
            continue;
        }
        // What comes to stand first has no blank before it.
        let crumb = if kept == 0 && gone > 0 { crumb.trim_ascii_start() } else { crumb };
        if kept > 0 {
            out.push(b';');
        }
        out.extend_from_slice(crumb);
        kept += 1;
        some_left |= !crumb.trim_ascii().is_empty();
    }
    if !some_left {
        out.truncate(start);
    }
    some_left
}

/// The first value of a parameter in a raw query (without `?`), as it is spelt; empty if it has no
/// `=`.
pub fn query_value<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|parameter| match cut(parameter) {
        Some((key, value)) => (key == name).then_some(value),
        None => (parameter == name).then_some(&parameter[parameter.len()..]),
    })
}

fn value_of<'a>(crumb: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (key, value) = cut(crumb)?;
    (key.trim_ascii() == name).then(|| value.trim_ascii())
}

/// What is before and after the first `=`.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(b'=', text)?;
    Some((&text[..place], &text[place + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn strip(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let left = strip_cookie(line, name, &mut out);
        let appended = out.strip_prefix(b"before").expect("only appended to").to_vec();
        assert!(left || appended.is_empty());
        left.then_some(appended)
    }

    #[test]
    fn finds_the_first_of_a_name() {
        let cases: &[(&str, Option<&str>)] = &[
            ("ek=1", Some("1")),
            ("a=0; ek=1; ek=2", Some("1")),
            ("a=0;ek=1;b=2", Some("1")),
            ("ek=\"1\"", Some("1")),
            ("ek=\"", Some("\"")),
            ("ek=", Some("")),
            ("ek=a=b", Some("a=b")),
            (" ek =\t1 ; b=2", Some("1")),
            ("EK=1; eke=2; e=3; aek=4", None),
            ("ek", None),
            ("a=ek=1", None),
            ("", None),
            (";;=;", None),
        ];
        for (line, expected) in cases {
            let found = find_cookie(line.as_bytes(), b"ek");
            assert_eq!(found, expected.map(str::as_bytes), "{line:?}");
        }
        assert_eq!(find_cookie(b"\xff=\xfe; ek=\x80", b"ek"), Some(&b"\x80"[..]));
    }

    #[test]
    fn strips_only_the_name() {
        let cases: &[(&str, Option<&str>)] = &[
            ("ek=1", None),
            ("ek=1; ek=2", None),
            ("ek=1; ", None),
            ("ek=1; a=2", Some("a=2")),
            ("a=1; ek=2", Some("a=1")),
            ("a=1; ek=2; b=3", Some("a=1; b=3")),
            ("ek=1;a=2;ek=3;b=4", Some("a=2;b=4")),
            ("a=\"x\";  b = y;;ek=\"1\"; c", Some("a=\"x\";  b = y;; c")),
            ("eke=1; aek=2; EK=3; ek", Some("eke=1; aek=2; EK=3; ek")),
            (" a=1 ; b=2;", Some(" a=1 ; b=2;")),
            ("", None),
            (" ; ", None),
        ];
        for (line, expected) in cases {
            let stripped = strip(line.as_bytes(), b"ek");
            assert_eq!(stripped.as_deref(), expected.map(str::as_bytes), "{line:?}");
        }
    }

    #[test]
    fn reads_a_parameter_as_spelt() {
        let cases: &[(&str, Option<&str>)] = &[
            ("id=1", Some("1")),
            ("a=0&id=%31+2&id=3", Some("%31+2")),
            ("id", Some("")),
            ("id&id=1", Some("")),
            ("id=a=b", Some("a=b")),
            ("ID=1&idd=2&i=3", None),
            ("", None),
            ("&&=", None),
        ];
        for (query, expected) in cases {
            let found = query_value(query.as_bytes(), b"id");
            assert_eq!(found, expected.map(str::as_bytes), "{query:?}");
        }
    }

    /// The crumbs of a line, without blanks around them.
    fn crumbs(line: &[u8]) -> Vec<&[u8]> {
        let parts = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts.filter(|crumb| !crumb.is_empty()).collect()
    }

    proptest! {
        /// From the letters that matter, in any order.
        #[test]
        fn strip_leaves_the_others_and_no_trace(
            line in vec(prop::sample::select(b"ek=; \t\"a\xff".to_vec()), 0..40),
        ) {
            let stripped = strip(&line, b"ek").unwrap_or_default();
            prop_assert_eq!(find_cookie(&stripped, b"ek"), None);
            let mut others = crumbs(&line);
            others.retain(|crumb| find_cookie(crumb, b"ek").is_none());
            prop_assert_eq!(crumbs(&stripped), others);
            if find_cookie(&line, b"ek").is_none() && !stripped.is_empty() {
                prop_assert_eq!(stripped, line);
            }
        }
    }
}
