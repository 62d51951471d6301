//! ACLs and conditions, as far as a match of a route can say them.

use super::Proxy;
use super::parse::Line;
use crate::import::draft::Draft;

/// One test that a route can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Hosts(Vec<String>),
    Path(String),
    Prefix(String),
    Methods(Vec<String>),
    Header(String, String),
    /// Client networks.
    Source(Vec<String>),
    /// Everybody else.
    NotSource(Vec<String>),
    /// Server names that TLS asks for, unopened.
    ServerName(Vec<String>),
    /// The connection is TLS.
    Secure,
    NotSecure,
}

/// Alternatives, each with tests that must all hold; `None` if a route cannot say it.
pub(super) type Condition = Option<Vec<Vec<Test>>>;

/// The condition behind `if`; without one, always.
pub(super) fn condition(line: &Line, proxy: &Proxy<'_>) -> Condition {
    if let Some(at) = line.words.iter().position(|word| word == "unless") {
        // Of several tests no route can say the opposite.
        return match line.from(at + 1) {
            [open, test @ .., close] if open == "{" && close == "}" && is_one(test) => {
                let test: Vec<&str> = test.iter().map(String::as_str).collect();
                Some(tests(&test, true)?.into_iter().map(|test| vec![test]).collect())
            }
            [name] => {
                let tests = named(name.as_str(), proxy, true)?;
                Some(tests.into_iter().map(|test| vec![test]).collect())
            }
            _ => None,
        };
    }
    let Some(at) = line.words.iter().position(|word| word == "if") else {
        return Some(vec![Vec::new()]);
    };
    let mut alternatives = vec![vec![Vec::new()]];
    let mut words = line.from(at + 1).iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "or" | "||" => alternatives.push(vec![Vec::new()]),
            "{" | "!{" => {
                let inner: Vec<&str> =
                    words.by_ref().map(String::as_str).take_while(|word| *word != "}").collect();
                let negated = word == "!{";
                and(&mut alternatives, tests(&inner, negated)?);
            }
            name if name.starts_with('!') => {
                let name = &name[1..];
                if name != "{" {
                    and(&mut alternatives, named(name, proxy, true)?);
                } else {
                    return None;
                }
            }
            "TRUE" | "HTTP" => {}
            name => and(&mut alternatives, named(name, proxy, false)?),
        }
    }
    Some(alternatives.into_iter().flatten().collect())
}

/// True of what stands between one pair of braces.
fn is_one(words: &[String]) -> bool {
    !words.iter().any(|word| matches!(word.as_str(), "{" | "!{" | "}"))
}

/// Adds a choice of tests to the last alternative.
fn and(alternatives: &mut [Vec<Vec<Test>>], choices: Vec<Test>) {
    if let Some(last) = alternatives.last_mut() {
        let joined = last.iter().take(MAX_CHOICES).flat_map(|tests| {
            choices.iter().take(MAX_CHOICES).map(|choice| {
                let mut tests = tests.clone();
                tests.push(choice.clone());
                tests
            })
        });
        *last = joined.collect();
    }
}

/// Alternatives of one condition that are written out.
const MAX_CHOICES: usize = 64;

/// Tests of all `acl` lines of a name; any of them is enough.
fn named(name: &str, proxy: &Proxy<'_>, negated: bool) -> Option<Vec<Test>> {
    if name == "METH_GET" {
        return (!negated).then(|| vec![Test::Methods(vec!["GET".into(), "HEAD".into()])]);
    }
    let lines = proxy.all(&["acl", name]);
    let mut found = Vec::new();
    for line in &lines {
        let words: Vec<&str> = line.from(2).iter().map(String::as_str).collect();
        found.extend(tests(&words, negated)?);
    }
    let usable = !found.is_empty() && (!negated || found.len() == 1);
    usable.then_some(found)
}

/// True if every condition that uses the line can use it.
pub(super) fn is_known(line: &Line) -> bool {
    let words: Vec<&str> = line.from(2).iter().map(String::as_str).collect();
    tests(&words, false).is_some()
}

/// `FETCH [flags] VALUE...` as a choice of tests.
fn tests(words: &[&str], negated: bool) -> Option<Vec<Test>> {
    let (fetch, rest) = words.split_first()?;
    let values: Vec<String> = rest
        .iter()
        .filter(|word| !matches!(**word, "-i" | "-m" | "str" | "beg" | "--"))
        .map(|word| (*word).to_owned())
        .collect();
    let prefix = rest.windows(2).any(|pair| pair == ["-m", "beg"]);
    if matches!(*fetch, "req_ssl_sni" | "req.ssl_sni") && !negated {
        return server_names(rest).map(|names| vec![Test::ServerName(names)]);
    }
    if *fetch == "src" && negated && !values.is_empty() && !rest.contains(&"-f") {
        return Some(vec![Test::NotSource(values)]);
    }
    if rest.windows(2).any(|pair| pair[0] == "-m" && !matches!(pair[1], "str" | "beg")) {
        return None;
    }
    if *fetch == "ssl_fc" {
        return Some(vec![if negated { Test::NotSecure } else { Test::Secure }]);
    }
    if negated || values.is_empty() || rest.contains(&"-f") {
        return None;
    }
    let header = fetch.strip_prefix("req.").unwrap_or(fetch);
    let header = header.strip_prefix("hdr(").and_then(|name| name.strip_suffix(')'));
    Some(match (*fetch, header.map(str::to_ascii_lowercase)) {
        ("path_beg", _) => values.into_iter().map(Test::Prefix).collect(),
        ("path", _) if prefix => values.into_iter().map(Test::Prefix).collect(),
        ("path", _) => values.into_iter().map(Test::Path).collect(),
        ("method", _) => vec![Test::Methods(values)],
        ("src", _) => vec![Test::Source(values)],
        ("hdr_dom(host)" | "hdr_end(host)", _) => {
            let star = |value: &String| format!("*.{}", value.trim_start_matches('.'));
            let all = values.iter().all(|value| value.starts_with('.'));
            if !all {
                return None;
            }
            vec![Test::Hosts(values.iter().map(star).collect())]
        }
        (_, Some(name)) if name == "host" && !prefix => vec![Test::Hosts(values)],
        (_, Some(name)) if !prefix => {
            values.into_iter().map(|value| Test::Header(name.clone(), value)).collect()
        }
        _ => return None,
    })
}

/// The names of a test of the server name, exact or by suffix.
fn server_names(rest: &[&str]) -> Option<Vec<String>> {
    let way = rest.windows(2).find(|pair| pair[0] == "-m").map(|pair| pair[1]);
    let values = rest.iter().filter(|word| !matches!(**word, "-i" | "-m" | "str" | "end" | "--"));
    let name = |value: &&str| match way {
        None | Some("str") => Some((*value).to_owned()),
        Some("end") => value.strip_prefix('.').map(|suffix| format!("*.{suffix}")),
        Some(_) => None,
    };
    let names: Option<Vec<String>> = values.map(name).collect();
    names.filter(|names| !names.is_empty() && !rest.contains(&"-f"))
}

/// True if the condition of a line asks for a path or a field whatever its letters' case.
pub(super) fn ignores_case(line: &Line, proxy: &Proxy<'_>) -> bool {
    let is_loose = |words: &[String]| {
        let fetch = words.first().map(String::as_str).unwrap_or_default();
        let cased = fetch.starts_with("path") || fetch.contains("hdr(") && !fetch.contains("host");
        cased && words.iter().any(|word| word == "-i")
    };
    let named = |word: &String| {
        let name = word.trim_start_matches('!');
        proxy.all(&["acl", name]).iter().any(|acl| is_loose(acl.from(2)))
    };
    let inline = line.words.split(|word| word.ends_with('{')).skip(1);
    line.words.iter().any(named) || inline.into_iter().any(is_loose)
}

/// Writes tests into the match of a route; false if two of a kind cannot stand together.
pub(super) fn write(tests: &[Test], route: &mut Draft, line: usize) -> bool {
    let mut fits = true;
    let fields = |name: &str| {
        tests.iter().filter(|it| matches!(it, Test::Header(other, _) if other == name)).count()
    };
    for test in tests {
        match test {
            Test::Hosts(hosts) => {
                fits &= !route.has("match.hosts");
                route.texts("match.hosts", line, hosts.iter().map(String::as_str));
            }
            Test::Path(path) => {
                fits &= !route.has("match.path") && !route.has("match.path_prefix");
                route.text("match.path", line, path.clone());
            }
            Test::Prefix(prefix) => {
                fits &= !route.has("match.path") && !route.has("match.path_prefix");
                let bare = prefix.trim_end_matches('/');
                route.text("match.path_prefix", line, if bare.is_empty() { "/" } else { bare });
            }
            Test::Methods(methods) => {
                fits &= !route.has("match.methods");
                route.texts("match.methods", line, methods.iter().map(String::as_str));
            }
            Test::Header(name, _) if fields(name) > 1 => fits = false,
            // An upgrade always says so there, and often among other words.
            Test::Header(name, value)
                if name == "connection"
                    && value.eq_ignore_ascii_case("upgrade")
                    && fields("upgrade") == 1 => {}
            Test::Header(name, value) if name == "upgrade" => {
                // As clients write it.
                let value = value.to_ascii_lowercase();
                route.field("match.headers", line, (name, &value));
            }
            Test::Header(name, value) => route.field("match.headers", line, (name, value)),
            Test::Source(_)
            | Test::NotSource(_)
            | Test::ServerName(_)
            | Test::Secure
            | Test::NotSecure => fits = false,
        }
    }
    fits
}
