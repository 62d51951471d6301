//! What a client says that it has seen (`If-Match`), so that it changes nothing that it does not
//! know. Looked at while nobody else can change anything.

use super::{Edit, Rejected, Steering};

impl Steering {
    /// Refuses if neither the configuration nor a pool that is edited is what was seen.
    pub(super) fn expect_seen(
        &self,
        edits: &[Edit],
        if_match: Option<&str>,
    ) -> Result<(), Rejected> {
        if if_match.is_none() {
            return Ok(());
        }
        let in_force = self.in_force.load();
        let of_pool = |edit: &Edit| in_force.etag_of_pool(pool_of(edit)?);
        let pools: Vec<String> = edits.iter().filter_map(of_pool).collect();
        let etags: Vec<&str> = pools.iter().map(String::as_str).chain([in_force.etag()]).collect();
        if is_seen(if_match, &etags) {
            return Ok(());
        }
        let current = etags.first().copied().unwrap_or_default().to_owned();
        Err(Rejected::Stale { current })
    }
}

/// Whether one of these ETags, without their quotes, is among what the client has seen.
pub(crate) fn is_seen(if_match: Option<&str>, etags: &[&str]) -> bool {
    let Some(seen) = if_match else { return true };
    seen.split(',').any(|seen| {
        let seen = seen.trim().trim_start_matches("W/").trim_matches('"');
        seen == "*" || etags.contains(&seen)
    })
}

/// The pool that an edit is about; `None` if it is about a route.
fn pool_of(edit: &Edit) -> Option<&str> {
    match edit {
        Edit::Strategy { pool, .. }
        | Edit::Weight { pool, .. }
        | Edit::Admin { pool, .. }
        | Edit::AddBackend { pool, .. }
        | Edit::RemoveBackend { pool, .. } => Some(pool),
        Edit::Split { .. } | Edit::RoutePool { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_without_their_quotes() {
        for (field, wanted) in [
            (None, true),
            (Some("\"a\""), true),
            (Some("W/\"a\""), true),
            (Some("\"x\", \"b\""), true),
            (Some("*"), true),
            (Some("\"x\""), false),
            (Some(""), false),
        ] {
            assert_eq!(is_seen(field, &["a", "b"]), wanted, "{field:?}");
        }
    }
}
