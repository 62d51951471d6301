//! Redirects to https, in the ways that they are written: `return`, `rewrite`, `if`, within a
//! server or its `location /`.

use super::parse::Directive;

/// What a server redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything, before any location is asked.
    Everything,
    /// What no other location takes.
    Rest,
    /// What comes without TLS.
    Plain,
}

/// A redirect to https that keeps the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) line: usize,
    pub(super) shown: String,
    pub(super) status: u64,
    pub(super) port: u64,
    pub(super) extent: Extent,
    /// It goes to one name, whichever was asked for.
    pub(super) renames: bool,
}

/// What stands behind the host where path and query are kept.
const WHOLE: &[&str] =
    &["$request_uri", "$request_uri?", "$uri$is_args$args", "$uri?$args", "$uri"];

/// Patterns of `rewrite` that take every path.
const EVERY_PATH: &[&str] = &["^", ".*", "^/", "^.*$", "(.*)", "^(.*)", "^(.*)$", "^/(.*)$"];

/// The redirect of a directive in a server of these names.
pub(super) fn of(directive: &Directive, names: &[String]) -> Option<Redirect> {
    let block = directive.block.as_deref();
    match (directive.name.as_str(), block) {
        ("return", None) => returned(directive, names),
        ("rewrite", None) => rewritten(directive, names),
        ("if", Some([inner])) => {
            let extent = condition(directive)?;
            Some(Redirect { extent, renames: false, ..of(inner, names)? })
        }
        ("location", Some(block)) if matches!(words(directive)[..], ["/"] | ["^~", "/"]) => {
            let found = block.iter().find_map(|inner| of(inner, names))?;
            (found.extent == Extent::Everything)
                .then_some(Redirect { extent: Extent::Rest, ..found })
        }
        _ => None,
    }
}

fn words(directive: &Directive) -> Vec<&str> {
    directive.arguments.iter().map(String::as_str).collect()
}

/// `return 301 URL`; without a status it is 302.
fn returned(directive: &Directive, names: &[String]) -> Option<Redirect> {
    let (status, url) = match directive.arguments.as_slice() {
        [url] => (302, url),
        [status, url] => (status.parse().ok()?, url),
        _ => return None,
    };
    redirect(directive, (status, url), WHOLE, names)
}

/// `rewrite ^ URL permanent`.
fn rewritten(directive: &Directive, names: &[String]) -> Option<Redirect> {
    let [pattern, url, flag] = directive.arguments.as_slice() else { return None };
    let status = match flag.as_str() {
        "permanent" => 301,
        "redirect" => 302,
        _ => return None,
    };
    EVERY_PATH.contains(&pattern.as_str()).then_some(())?;
    let tail: &[&str] = match pattern.contains('(') {
        true if pattern.starts_with("^/") => &["/$1"],
        true => &["$1"],
        false => WHOLE,
    };
    redirect(directive, (status, url), tail, names)
}

fn redirect(
    directive: &Directive,
    (status, url): (u64, &str),
    tails: &[&str],
    names: &[String],
) -> Option<Redirect> {
    let rest = url.strip_prefix("https://")?;
    let authority = tails.iter().find_map(|tail| rest.strip_suffix(tail))?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 443),
    };
    let own = host == "$server_name" || names.iter().any(|name| name == host);
    let kept = matches!(host, "$host" | "$http_host");
    (matches!(status, 301 | 302 | 303 | 307 | 308) && (kept || own)).then(|| Redirect {
        line: directive.line,
        shown: directive.shown(),
        status,
        port,
        extent: Extent::Everything,
        renames: own && names.len() > 1,
    })
}

/// What an `if` is true of, if that is a whole server or whatever comes without TLS.
fn condition(directive: &Directive) -> Option<Extent> {
    let text = words(directive).join(" ");
    let text = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    match words_of(text)[..] {
        ["$host", "=", _] => Some(Extent::Everything),
        ["$scheme", "=", "http"]
        | ["$scheme", "!=", "https"]
        | ["$https", "=", ""]
        | ["$https", "!=", "on"]
        | ["$server_port", "=", "80"] => Some(Extent::Plain),
        _ => None,
    }
}

/// Left side, operator, right side; the last may be empty.
fn words_of(text: &str) -> Vec<&str> {
    text.splitn(3, ' ').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn found(text: &str) -> Option<(u64, u64, Extent, bool)> {
        let parsed = parse(text, 1).expect("valid");
        let names = ["a.test".to_owned(), "www.a.test".to_owned()];
        of(&parsed[0], &names).map(|it| (it.status, it.port, it.extent, it.renames))
    }

    #[test]
    fn every_way_to_write_it() {
        use Extent::{Everything, Plain, Rest};
        for (text, wanted) in [
            ("return 301 https://$host$request_uri;", Some((301, 443, Everything, false))),
            ("return https://$http_host$request_uri;", Some((302, 443, Everything, false))),
            ("return 308 https://$host:8443$request_uri;", Some((308, 8443, Everything, false))),
            ("return 301 https://a.test$request_uri;", Some((301, 443, Everything, true))),
            ("return 301 https://b.test$request_uri;", None),
            ("return 301 https://$host/login;", None),
            ("return 301 http://$host$request_uri;", None),
            ("return 404;", None),
            (
                "rewrite ^ https://$host$request_uri? permanent;",
                Some((301, 443, Everything, false)),
            ),
            ("rewrite ^/(.*)$ https://$host/$1 redirect;", Some((302, 443, Everything, false))),
            ("rewrite ^(.*)$ https://$host$1 permanent;", Some((301, 443, Everything, false))),
            ("rewrite ^/a https://$host$request_uri permanent;", None),
            (
                "if ($host = a.test) { return 301 https://$host$request_uri; }",
                Some((301, 443, Everything, false)),
            ),
            (
                "if ($scheme != \"https\") { return 301 https://$host$request_uri; }",
                Some((301, 443, Plain, false)),
            ),
            ("if ($http_x) { return 301 https://$host$request_uri; }", None),
            ("location / { return 301 https://$host$request_uri; }", Some((301, 443, Rest, false))),
            ("location /a { return 301 https://$host$request_uri; }", None),
        ] {
            assert_eq!(found(text), wanted, "{text}");
        }
    }
}
