//! Fields of messages whose values nobody is shown: credentials, and what stands for one.

/// Whole names.
const NAMES: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "client-cert"];
/// The same, as parts of names.
const PARTS: [&str; 9] = [
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "session",
    "credential",
    "signature",
];

/// True of a field, by its name in any case.
pub fn is_secret_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_parts_of_names() {
        for secret in ["Authorization", "set-cookie", "X-Auth-Token", "x-api-key", "my-session-id"]
        {
            assert!(is_secret_field(secret), "{secret}");
        }
        for plain in ["host", "cookies", "x-authorization-kind", "accept"] {
            assert!(!is_secret_field(plain), "{plain}");
        }
    }
}
