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

    /// True if the certificate that `asked` gets is for `host` too.
    pub(crate) fn share(&self, asked: Option<&str>, host: &str) -> bool {
        let chosen = asked.map_or(FIRST, |asked| self.find(asked));
        self.find(host).iter().any(|index| chosen.contains(index))
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
            (Some("a.test"), "b.test", false),
            (Some("b.test"), "nobody.test", false),
            (None, "nobody.test", true),
            (None, "b.test", false),
        ] {
            assert_eq!(names.share(asked, host), shared, "{asked:?} {host}");
        }
    }
}
