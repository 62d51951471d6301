//! Values as nginx writes them.

use crate::import::draft::duration;

/// `30`, `30s`, `1m 30s`, `500ms` as a duration of the native form.
pub(super) fn time(words: &[String]) -> Option<String> {
    let text = words.join("");
    let mut millis: u64 = 0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let scale: u64 = match rest.get(..unit)? {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        rest = rest.get(unit..)?;
        millis = millis.checked_add(number.checked_mul(scale)?)?;
    }
    (!text.is_empty()).then(|| duration(millis))
}

/// `8k`, `1m`, `1024` as a size of the native form.
pub(super) fn size(text: &str) -> Option<String> {
    let number = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let unit = text.get(number.len()..)?;
    (unit.len() <= 1 && number.parse::<u64>().is_ok()).then(|| text.to_ascii_lowercase())
}

/// Bytes of a size as nginx means it; without a bound is more than any.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let scale: u64 = match text.get(digits.len()..)? {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    match digits.parse::<u64>().ok()? {
        0 => Some(u64::MAX),
        number => number.checked_mul(scale),
    }
}

/// `name=value` among arguments.
pub(super) fn named<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// What a variable that is a key stands for, as a hash key.
pub(super) fn hash_key(text: &str) -> Option<String> {
    Some(match text {
        "$remote_addr" | "$binary_remote_addr" => "client_ip".to_owned(),
        "$uri" | "$document_uri" => "path".to_owned(),
        "$args" | "$query_string" => "query".to_owned(),
        _ => {
            if let Some(name) = text.strip_prefix("$arg_") {
                format!("query:{name}")
            } else if let Some(name) = text.strip_prefix("$cookie_") {
                format!("cookie:{name}")
            } else {
                format!("header:{}", text.strip_prefix("$http_")?.replace('_', "-"))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        for (text, wanted) in [
            ("30", Some("30s")),
            ("1m30s", Some("90s")),
            ("500ms", Some("500ms")),
            ("1h", Some("3600s")),
            ("", None),
            ("x", None),
            ("5y", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(time(&[text.to_owned()]).as_deref(), wanted, "{text}");
        }
        assert_eq!(size("8K").as_deref(), Some("8k"));
        assert_eq!(size("8kk"), None);
        assert_eq!(hash_key("$http_x_user").as_deref(), Some("header:x-user"));
        assert_eq!(hash_key("$request_body"), None);
    }
}
