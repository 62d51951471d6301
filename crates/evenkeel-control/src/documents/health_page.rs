//! `/health` for browsers: one page without anything from elsewhere.

use super::health::{HealthStatus, Row, rows, status};
use super::time_text;
use crate::metrics::{Condition, View};
use std::borrow::Cow;
use std::fmt::Write;

/// The page reloads itself. Styles are inline: a content security policy must allow them.
const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="1">
<meta name="color-scheme" content="light dark">
<title>Health</title>
<style>
:root { color-scheme: light dark; --line: #8886; --good: #1a6b2e; --odd: #8a5a00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --good: #7fd996; --odd: #f0c060; --bad: #ff9a91; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .8rem; border-bottom: 1px solid var(--line); }
.number { text-align: right; }
.good { color: var(--good); } .odd { color: var(--odd); } .bad { color: var(--bad); }
b { white-space: nowrap; }
</style>
</head>
<body>
"#;

const COLUMNS: &str = r#"<div><table>
<thead><tr>
<th scope="col">Pool</th><th scope="col">Backend</th><th scope="col">Address</th>
<th scope="col">Status</th><th scope="col">New traffic</th>
<th scope="col" class="number">Latency</th><th scope="col" class="number">Errors</th>
<th scope="col" class="number">In flight</th><th scope="col">Last check</th>
</tr></thead>
<tbody>
"#;

const FOOT: &str = "</tbody>\n</table></div>\n</body>\n</html>\n";

/// What a status looks like: a colour, and a sign for those who do not see it.
struct Sign {
    class: &'static str,
    symbol: &'static str,
}

const GOOD: Sign = Sign { class: "good", symbol: "✔" };
const ODD: Sign = Sign { class: "odd", symbol: "▲" };
const BAD: Sign = Sign { class: "bad", symbol: "✖" };

impl Sign {
    fn with(&self, word: &str) -> String {
        format!(
            "<b class=\"{}\"><span aria-hidden=\"true\">{}</span> {word}</b>",
            self.class, self.symbol
        )
    }
}

/// The same as [`super::health_json`] as a page that reloads itself every second.
pub fn health_html(view: &View<'_>) -> String {
    let rows = rows(view);
    let status = status(view, &rows);
    let sign = match status {
        HealthStatus::Healthy => GOOD,
        HealthStatus::Degraded => ODD,
        HealthStatus::Unhealthy => BAD,
    };
    let mut page = HEAD.to_owned();
    // Writing to a string does not fail, here and below.
    let _ = writeln!(
        page,
        "<h1>Health: {}</h1>\n<p>As of <time>{}</time>.</p>",
        sign.with(status.as_str()),
        time_text(view.unix_nanos)
    );
    page.push_str(COLUMNS);
    rows.iter().for_each(|row| write_row(&mut page, row));
    page.push_str(FOOT);
    page
}

fn write_row(page: &mut String, row: &Row<'_>) {
    let sign = match row.condition {
        Condition::Healthy => GOOD,
        Condition::Unknown => ODD,
        Condition::Unhealthy => BAD,
    };
    let plan = &row.backend.plan;
    let _ = writeln!(
        page,
        "<tr><td>{}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"number\">{} ms</td><td class=\"number\">{:.1} %</td>\
         <td class=\"number\">{}</td><td>{}</td></tr>",
        escaped(&row.pool.plan.name),
        escaped(&plan.name),
        escaped(&row.backend.label),
        sign.with(row.condition.as_str()),
        row.bar.map_or("yes", |bar| bar.as_str()),
        row.latency_ms,
        100.0 * row.error_rate,
        row.backend.in_flight(),
        row.last_check.as_deref().unwrap_or("never"),
    );
}

/// Text for an element's content.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fixture::{Fixture, TWO_POOLS};

    #[test]
    fn the_page_says_in_words_what_it_shows_in_colour() {
        let fixture = Fixture::of(&TWO_POOLS.replace("weight: 3", "weight: 3, admin: draining"));
        fixture.probe("web", "b1", 0);
        fixture.probe("web", "b2", 3);
        let page = health_html(&fixture.view());
        for part in [
            "<meta http-equiv=\"refresh\" content=\"1\">",
            "color-scheme: light dark",
            "▲</span> degraded</b>",
            "✔</span> healthy</b></td><td>draining</td>",
            "✖</span> unhealthy</b></td><td>unhealthy</td>",
            "<td>2026-01-01T00:01:00.750Z</td>",
            "<td>never</td>",
            ">12 ms<",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        for foreign in ["http://", "https://", "src=", "href=", "<script"] {
            assert!(!page.contains(foreign), "{foreign} is in\n{page}");
        }
        assert_eq!(page.matches("<tr>").count(), 4);
    }

    #[test]
    fn names_are_text() {
        let hostile = r#"<script>alert('x')</script>&\""#;
        let text = TWO_POOLS.replace("name: b1", &format!("name: \"{hostile}\""));
        let page = health_html(&Fixture::of(&text).view());
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    }
}
