//! What a request said, without what must not be kept.

use evenkeel_api::{Captured, CapturedHeader};
use evenkeel_core::secret::is_secret_field;

/// Stands for a value that is not kept.
const HIDDEN: &str = "[redacted]";

/// Fields whose value is an address.
const ADDRESSES: [&str; 5] =
    ["referer", "x-original-uri", "x-original-url", "x-rewrite-url", "x-forwarded-uri"];

/// The parts of a captured request; values of secret fields and of the query are hidden. `also`
/// names further fields, in lower case.
pub(super) fn captured(bytes: &[u8], also: &[String]) -> Captured {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    // The request line has its own keys, and the query is not for keeping.
    let lines = head.split("\r\n").skip(1);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| CapturedHeader {
        name: name.to_owned(),
        value: if is_secret(name, also) { HIDDEN.to_owned() } else { without_query(name, value) },
    });
    Captured { headers: headers.collect(), body: body.to_owned() }
}

/// The query of an address is as little for keeping there as in the request line.
fn without_query(name: &str, value: &str) -> String {
    let value = value.trim();
    let is_address = ADDRESSES.iter().any(|known| name.trim().eq_ignore_ascii_case(known));
    match value.split_once('?') {
        Some((address, _)) if is_address => format!("{address}?{HIDDEN}"),
        Some(_) | None => value.to_owned(),
    }
}

fn is_secret(name: &str, also: &[String]) -> bool {
    let name = name.trim();
    is_secret_field(name) || also.contains(&name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_kept() {
        let sent = b"POST /p?token=hush HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer hush\r\n\
            cookie: sid=hush\r\nX-Api-Key: hush\r\nX-Session-Id: hush\r\nX-Mine: hush\r\n\
            Referer: http://a.test/p?token=hush\r\nX-Plain: seen: it?\r\n\r\n{\"a\":1}\xff";
        let captured = captured(sent, &["x-mine".to_owned()]);
        let shown: Vec<(&str, &str)> =
            captured.headers.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("Host", "a.test"),
                ("Authorization", HIDDEN),
                ("cookie", HIDDEN),
                ("X-Api-Key", HIDDEN),
                ("X-Session-Id", HIDDEN),
                ("X-Mine", HIDDEN),
                ("Referer", "http://a.test/p?[redacted]"),
                ("X-Plain", "seen: it?"),
            ]
        );
        assert_eq!(captured.body, "{\"a\":1}\u{fffd}");
        assert!(!serde_json::to_string(&captured).expect("JSON").contains("hush"));
    }
}
