//! The table of endpoints as a page to read.

use crate::endpoint::{Answer, Content, ENDPOINTS, Endpoint, Values};

const ABOUT: &str = "\
# Admin API

Every endpoint of the admin listener. `/openapi.json` (also: `evenkeel openapi`) describes the
bodies as JSON Schema; [the guide](../guide-admin.md) tells who may ask. A role includes those
before it: viewer, operator, admin; on a loopback address without `admin.tokens_file` nobody is
asked.
";

/// Every endpoint as Markdown.
pub fn reference_markdown() -> String {
    let mut page = ABOUT.to_owned();
    for endpoint in ENDPOINTS {
        page.push('\n');
        describe(&mut page, endpoint);
    }
    page
}

fn describe(page: &mut String, endpoint: &Endpoint) {
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    line(&format!("## `{} {}`\n", endpoint.method, endpoint.path));
    let role = match endpoint.role {
        Some(role) => format!("Role: {}.", role.as_str()),
        None => "No token is asked for.".to_owned(),
    };
    line(&format!("{} {role}\n", endpoint.summary));
    if !endpoint.body.is_empty() {
        let forms: Vec<String> = endpoint.body.iter().map(media_type).collect();
        let may = if endpoint.body_required { "" } else { ", may be left out" };
        line(&format!("- body: {}{may}", forms.join(" or ")));
    }
    for parameter in endpoint.query {
        let values = match parameter.values {
            Values::Duration => "a duration, such as `30s`".to_owned(),
            Values::Name => "a name".to_owned(),
            Values::OneOf(words) => words.join(" \\| "),
        };
        line(&format!("- `?{}=`: {values}. {}", parameter.name, parameter.meaning));
    }
    if endpoint.conditional {
        line("- `If-Match` is heeded: 412 if it has changed since.");
    }
    endpoint.answers.iter().for_each(|answer| line(&of_answer(answer)));
}

fn of_answer(answer: &Answer) -> String {
    let mut forms: Vec<String> = answer.content.iter().map(media_type).collect();
    forms.dedup();
    let forms = if forms.is_empty() { "no body".to_owned() } else { forms.join(" or ") };
    let tag = if answer.etag { ", with an ETag" } else { "" };
    format!("- {}: {} {forms}{tag}", answer.status, answer.meaning)
}

fn media_type(content: &Content) -> String {
    let text = match content {
        Content::Json(_) => "application/json",
        Content::Problem(_) => crate::problem::Problem::MEDIA_TYPE,
        Content::Events(_) => "text/event-stream",
        Content::As(text, _) | Content::Text(text) => text,
    };
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_heading_and_answers() {
        let page = reference_markdown();
        for endpoint in ENDPOINTS {
            let heading = format!("## `{} {}`", endpoint.method, endpoint.path);
            assert_eq!(page.matches(&heading).count(), 1, "{heading}");
        }
        assert!(page.contains("- 412") || page.contains("412 if it has changed since"), "{page}");
        assert!(page.contains("- `?drain=`: a duration"), "{page}");
    }
}
