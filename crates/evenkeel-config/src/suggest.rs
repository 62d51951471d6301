//! "Did you mean": the known name nearest to a mistyped one.

use crate::bound::MAX_CANDIDATES;

/// A part that is shorter says nothing.
const MIN_PART_BYTES: usize = 4;

/// The candidate with the fewest edits, if it is near enough to be meant.
pub(crate) fn closest<'a>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let allowed = (typed.chars().count() / 3).max(1) + 1;
    let scored = candidates.into_iter().take(MAX_CANDIDATES).filter_map(|candidate| {
        let apart = candidate.len().abs_diff(typed.len());
        (apart <= allowed).then(|| (edits(&typed, candidate), candidate))
    });
    let nearest = scored.min_by_key(|(distance, _)| *distance)?;
    (nearest.0 <= allowed && nearest.0 < typed.chars().count()).then_some(nearest.1)
}

/// As `closest`; else the only candidate that is a part of what was typed, or has it as a part:
/// `health` for `health_check`.
pub(crate) fn closest_or_akin<'a>(typed: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let is_akin = |candidate: &&str| {
        let shorter = typed.len().min(candidate.len());
        shorter >= MIN_PART_BYTES && (typed.contains(*candidate) || candidate.contains(typed))
    };
    let alone = || {
        let mut akin = candidates.iter().copied().take(MAX_CANDIDATES).filter(is_akin);
        akin.next().filter(|_| akin.next().is_none())
    };
    closest(typed, candidates.iter().copied()).or_else(alone)
}

/// What others call our keys; the glossary says more.
const ELSEWHERE: &[(&str, &str)] = &[
    ("algorithm", "strategy"),
    ("balance", "strategy"),
    ("clusters", "pools"),
    ("endpoints", "backends"),
    ("entrypoints", "listeners"),
    ("frontends", "listeners"),
    ("host", "address"),
    ("lb_policy", "strategy"),
    ("method", "strategy"),
    ("nodes", "backends"),
    ("policy", "strategy"),
    ("rules", "routes"),
    ("server", "address"),
    ("servers", "backends"),
    ("services", "pools"),
    ("sticky", "affinity"),
    ("targets", "backends"),
    ("upstreams", "pools"),
    ("url", "address"),
];

/// The one of our names that others call so.
pub(crate) fn elsewhere<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let (_, ours) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == typed)?;
    names.iter().copied().find(|name| name == ours)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of
/// neighbours (Boytsov, "Indexing methods for approximate dictionary searching", 2011).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i];
        for j in 1..=b.len() {
            let substituted = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_meant_name() {
        let keys = ["strategy", "name", "backends", "tls", "web"];
        for (typed, meant) in [
            ("stratgy", Some("strategy")),
            ("nme", Some("name")),
            ("wbe", Some("web")),
            ("Backend", Some("backends")),
            ("zzzzzz", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(closest(typed, keys), meant, "{typed}");
        }
    }

    #[test]
    fn knows_what_others_call_it() {
        let (root, backend) = (["backends", "pools", "workers"], ["name", "address", "weight"]);
        assert_eq!(elsewhere("servers", &root), Some("backends"));
        assert_eq!(elsewhere("Upstreams", &root), Some("pools"));
        assert_eq!(elsewhere("url", &backend), Some("address"));
        assert_eq!(elsewhere("url", &root), None);
        let theirs = |pair: &[(&str, &str)]| pair[0].0 < pair[1].0;
        assert!(ELSEWHERE.windows(2).all(theirs), "in order, each once");
    }

    #[test]
    fn finds_names_that_are_parts() {
        let keys = ["health", "circuit_breaker", "cookie_name", "max_idle", "idle_timeout"];
        for (typed, meant) in [
            ("health_check", Some("health")),
            ("healthcheck", Some("health")),
            ("breaker", Some("circuit_breaker")),
            ("helth", Some("health")),
            ("idle", None),
            ("max", None),
            ("sticky", None),
        ] {
            assert_eq!(closest_or_akin(typed, &keys), meant, "{typed}");
        }
    }
}
