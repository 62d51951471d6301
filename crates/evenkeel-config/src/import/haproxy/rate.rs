//! Counters of requests per client address that refuse: a bound of routes.

use super::Proxy;
use super::parse::Line;
use super::values::time;
use crate::import::draft::Draft;

/// So many requests in a time.
struct Rate<'a> {
    rule: &'a Line,
    requests: u64,
    per: String,
}

/// Names of the rate of requests of the client that is counted first.
const FETCHES: &[&str] = &["sc_http_req_rate(0)", "sc0_http_req_rate", "src_http_req_rate"];

/// The bound of a proxy: its table counts requests per client, and one rule refuses by it alone.
fn rate<'a>(proxy: &Proxy<'a>) -> Option<Rate<'a>> {
    let table = proxy.last(&["stick-table"])?;
    let stored = table.after("store")?.split(',');
    let mut rates = stored.filter_map(|it| it.strip_prefix("http_req_rate(")?.strip_suffix(')'));
    let per = time(rates.next()?)?;
    let tracks = |line: &&Line| tracks(line) && !line.has("table");
    let lines = || proxy.inherited.iter().chain(proxy.own);
    lines().find(tracks)?;
    lines().find_map(|rule| {
        let refuses = matches!(rule.word(1), "deny" | "tarpit" | "reject");
        let at = rule.words.iter().position(|word| word == "if")?;
        let words: Vec<&str> = rule.from(at + 1).iter().map(String::as_str).collect();
        let (fetch, operator, number) = match words[..] {
            ["{", fetch, operator, number, "}"] => (fetch, operator, number),
            [name] => match proxy.all(&["acl", name])[..] {
                [acl] if acl.words.len() == 5 => (acl.word(2), acl.word(3), acl.word(4)),
                _ => return None,
            },
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        let requests = match operator {
            "gt" => number,
            "ge" => number.checked_sub(1)?,
            _ => return None,
        };
        let known = FETCHES.contains(&fetch) && rule.starts(&["http-request"]);
        (refuses && known && requests > 0).then(|| Rate { rule, requests, per: per.clone() })
    })
}

/// `track-sc0 src`, always.
fn tracks(line: &Line) -> bool {
    let counted = line.words.windows(2).any(|pair| pair == ["track-sc0", "src"]);
    counted && !line.has("if") && !line.has("unless")
}

/// True of the lines that such a bound is made of.
pub(super) fn is_part(line: &Line, proxy: &Proxy<'_>) -> bool {
    let of_table = line.word(0) == "stick-table" || tracks(line);
    rate(proxy).is_some_and(|rate| of_table || *rate.rule == *line)
}

/// Bounds a route, unless something else bounds it already.
pub(super) fn apply(proxy: &Proxy<'_>, route: &mut Draft) {
    let Some(rate) = rate(proxy).filter(|_| !route.has("rate_limit")) else { return };
    let line = rate.rule.line;
    route.number("rate_limit.requests", line, rate.requests);
    route.text("rate_limit.per", line, rate.per);
    route.text("rate_limit.key", line, "client_ip");
}
