//! Variables that a `set` gives one value for good: they stand for it.

use super::parse::Directive;
use super::policy::Scope;

/// A text with what its variables stand for; `None` if one is not known before a request. The
/// target of a request behind it is what is sent anyway.
pub(super) fn written_out(text: &str, scope: &Scope<'_>) -> Option<String> {
    let mut rest = text.strip_suffix("$request_uri").unwrap_or(text);
    let mut whole = String::new();
    while let Some(at) = rest.find('$') {
        whole.push_str(&rest[..at]);
        let (name, after) = variable(&rest[at + 1..])?;
        whole.push_str(value_of(name, scope)?);
        rest = after;
    }
    whole.push_str(rest);
    Some(whole)
}

/// True of a `set` of a value that holds no variable itself.
pub(super) fn is_constant(set: &Directive) -> bool {
    set.name == "set" && set.block.is_none() && !set.argument(1).contains('$')
}

/// `name` or `{name}` at the start, and what is behind it.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}');
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The value of a variable that is set once, and never under a condition.
fn value_of<'a>(name: &str, scope: &Scope<'a>) -> Option<&'a str> {
    let is_it = |it: &Directive| it.name == "set" && it.argument(0).strip_prefix('$') == Some(name);
    let mut values = Vec::new();
    for directive in scope.every() {
        if is_it(directive) {
            values.push(directive);
        }
        let asked = directive.name == "if";
        if asked && directive.block.iter().flatten().any(is_it) {
            return None;
        }
    }
    match values.as_slice() {
        [only] if is_constant(only) => Some(only.argument(1)),
        _ => None,
    }
}
