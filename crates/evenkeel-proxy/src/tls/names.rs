//! Which of several certificates a name gets: exact, then wildcard, else the first.

use std::collections::HashMap;

/// The names of a listener's certificates. Two certificates may be for the same name, with keys of
/// different kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

/// What a name that is in none of them gets.
const FIRST: &[usize] = &[0];

impl Names {
    /// From the names of each certificate, in lower case.
    pub(super) fn new<'a>(certificates: impl Iterator<Item = &'a [String]>) -> Names {
        let mut names = Names::default();
        for (index, own) in certificates.enumerate() {
            for name in own {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut names.wildcard, suffix),
                    None => (&mut names.exact, name.as_str()),
                };
                let places = map.entry(key.to_owned()).or_default();
                if !places.contains(&index) {
                    places.push(index);
                }
            }
        }
        names
    }

    /// The certificates for a host in lower case, best first; never empty.
    pub(crate) fn find(&self, host: &str) -> &[usize] {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(exact) = self.exact.get(host) {
            return exact;
        }
        // A wildcard stands for one label (RFC 9525 6.3).
        let suffix = host.split_once('.').map_or("", |(_, suffix)| suffix);
        self.wildcard.get(suffix).map_or(FIRST, Vec::as_slice)
    }

    /// True if a client that was shown the certificate for `asked` may ask for `host`: the host is
    /// what it named, or stands in that certificate. A client that named nobody of ours, or
    /// nothing, may ask for the hosts that no certificate is for.
    pub(crate) fn share(&self, asked: Option<&str>, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if asked == Some(host) {
            return true;
        }
        let chosen = asked.map_or(FIRST, |asked| self.find(asked));
        let is_known = |name| self.holders(name).next().is_some();
        self.holders(host).any(|index| chosen.contains(index))
            || !asked.is_some_and(is_known) && !is_known(host)
    }

    /// The certificates in which a host stands, by itself or under a wildcard.
    fn holders(&self, host: &str) -> impl Iterator<Item = &usize> {
        let exact = self.exact.get(host);
        let suffix = host.split_once('.').map_or("", |(_, suffix)| suffix);
        exact.into_iter().chain(self.wildcard.get(suffix)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_wildcard_then_first() {
        let own = [
            vec!["a.test".to_owned()],
            vec!["*.b.test".to_owned(), "b.test".to_owned()],
            vec!["x.b.test".to_owned()],
            vec!["a.test".to_owned()],
        ];
        let names = Names::new(own.iter().map(Vec::as_slice));
        for (host, found) in [
            ("a.test", &[0, 3][..]),
            ("a.test.", &[0, 3]),
            ("b.test", &[1]),
            ("y.b.test", &[1]),
            ("x.b.test", &[2]),
            ("z.y.b.test", &[0]),
            ("other", &[0]),
            ("", &[0]),
        ] {
            assert_eq!(names.find(host), found, "{host}");
        }
        for (asked, host, shared) in [
            (Some("a.test"), "a.test", true),
            (Some("b.test"), "y.b.test", true),
            (Some("b.test"), "x.b.test", true),
            (Some("x.b.test"), "y.b.test", false),
            (Some("a.test"), "b.test", false),
            (Some("b.test"), "nobody.test", false),
            (Some("a.test"), "nobody.test", false),
            (Some("nobody.test"), "nobody.test", true),
            (Some("nobody.test"), "else.test", true),
            (Some("nobody.test"), "a.test", true),
            (Some("nobody.test"), "b.test", false),
            (None, "a.test.", true),
            (None, "nobody.test", true),
            (None, "b.test", false),
        ] {
            assert_eq!(names.share(asked, host), shared, "{asked:?} {host}");
        }
    }
}
