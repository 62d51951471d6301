//! Who is let in: `allow`, `deny`, and what lets nobody in.

use super::parse::Directive;
use super::policy::Scope;
use crate::import::draft::Draft;

/// Everybody.
const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Lays the rules in force over a route. The first rule that fits decides, and `all` fits always:
/// what stands behind it means nothing.
pub(super) fn apply(scope: &Scope<'_>, route: &mut Draft) {
    let rules = scope.among(&["allow", "deny"]);
    let end = rules.iter().position(|rule| rule.argument(0) == "all");
    let asked = rules.get(..end.unwrap_or(rules.len())).unwrap_or_default();
    // Without `deny all` everybody is let in whom no other rule keeps out.
    let closed = end.and_then(|end| rules.get(end)).filter(|rule| rule.name == "deny");
    for rule in asked.iter().filter(|rule| !rule.argument(0).starts_with("unix:")) {
        match rule.name.as_str() {
            "deny" => route.push_text("deny", rule.line, rule.argument(0)),
            _ if closed.is_some() => route.push_text("allow", rule.line, rule.argument(0)),
            _ => {}
        }
    }
    if let Some(closed) = closed.filter(|_| !route.has("allow")) {
        nobody(route, closed.line);
    }
}

/// Lets nobody in.
pub(super) fn nobody(route: &mut Draft, line: usize) {
    route.texts("deny", line, EVERYBODY);
}

/// True of what lets nobody in.
pub(super) fn refuses(directive: &Directive) -> bool {
    match (directive.name.as_str(), directive.argument(0)) {
        ("deny", "all") => true,
        // Nothing here sends a request on to another location.
        ("internal", _) => true,
        ("return", status) => matches!(status, "403" | "404" | "410" | "444"),
        _ => false,
    }
}
