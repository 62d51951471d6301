//! `explain-failure`, and the page that lists every failure.

use crate::arguments::FailureArguments;
use crate::output::print;
use crate::trouble::Trouble;
use evenkeel_core::failure::Failure;
use serde_json::{Value, json};

/// Says what the failure with this code means and what probably helps.
pub(crate) fn explain(arguments: &FailureArguments) -> Result<(), Trouble> {
    let failure = Failure::of_code(&arguments.code).ok_or_else(|| unknown(&arguments.code))?;
    if arguments.json {
        return print(format_args!("{:#}\n", as_json(failure)));
    }
    print(format_args!(
        "{}: {}\n\n  status  {}\n  side    {}\n  resend  {}\n  fix     {}\n",
        failure.code(),
        failure.meaning(),
        status(failure),
        failure.side().as_str(),
        failure.resend().as_str(),
        failure.hint(),
    ))
}

fn unknown(code: &str) -> Trouble {
    let codes: Vec<&str> = Failure::ALL.iter().map(|failure| failure.code()).collect();
    Trouble::Mistake(format!("no failure is called `{code}`; there are: {}", codes.join(", ")))
}

fn as_json(failure: Failure) -> Value {
    json!({
        "code": failure.code(),
        "status": failure.status(),
        "meaning": failure.meaning(),
        "message": failure.message(),
        "side": failure.side().as_str(),
        "resend": failure.resend().as_str(),
        "hint": failure.hint(),
    })
}

fn status(failure: Failure) -> String {
    match failure.status() {
        0 => "none: the connection is closed".to_owned(),
        status => format!("{status} {}", failure.reason()),
    }
}

/// Every failure as a Markdown page.
pub(crate) fn markdown() -> String {
    let mut page = "# Failures\n\n\
        Why an exchange ended without the backend's own complete answer. The code stands in the \
        body of the local reply (`error`), in the access record (`failure`), in \
        `evenkeel_failures_total` and in the flight recorder; `evenkeel explain-failure CODE` \
        prints one of them.\n\n\
        | Code | Status | Whose side | Send again? | Meaning | Likely fix |\n\
        |---|---|---|---|---|---|\n"
        .to_owned();
    for failure in Failure::ALL {
        page.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            failure.code(),
            status(*failure),
            failure.side().as_str(),
            failure.resend().as_str(),
            failure.meaning(),
            failure.hint(),
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_failure() {
        let page = markdown();
        for failure in Failure::ALL {
            assert_eq!(page.matches(&format!("\n| `{}` |", failure.code())).count(), 1);
        }
        assert!(
            page.lines()
                .skip_while(|line| !line.starts_with('|'))
                .all(|line| { line.matches('|').count() == 7 })
        );
    }

    #[test]
    fn a_code_that_is_none_is_answered_with_those_that_are() {
        let Trouble::Mistake(text) = unknown("nope") else { panic!("a mistake") };
        assert!(text.contains("`nope`") && text.contains("no_backend"), "{text}");
    }
}
