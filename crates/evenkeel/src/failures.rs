//! `explain-failure`, and the page that lists every failure.

use crate::arguments::FailureArguments;
use crate::output::print;
use crate::trouble::Trouble;
use evenkeel_core::failure::{Failure, TryCode};
use serde_json::{Value, json};

/// What has a code.
#[derive(Clone, Copy)]
enum Coded {
    Exchange(Failure),
    Try(TryCode),
}

impl Coded {
    fn of(code: &str) -> Result<Coded, Trouble> {
        let of_try = || TryCode::of_code(code).map(Coded::Try);
        let found = Failure::of_code(code).map(Coded::Exchange).or_else(of_try);
        found.ok_or_else(|| unknown(code))
    }
}

/// Says what the failure of an exchange or of a try with this code means and what probably helps.
pub(crate) fn explain(arguments: &FailureArguments) -> Result<(), Trouble> {
    match (Coded::of(&arguments.code)?, arguments.json) {
        (Coded::Exchange(failure), true) => print(format_args!("{:#}\n", as_json(failure))),
        (Coded::Exchange(failure), false) => print(format_args!(
            "{}: {}\n\n  status  {}\n  side    {}\n  resend  {}\n  fix     {}\n",
            failure.code(),
            failure.meaning(),
            status(failure),
            failure.side().as_str(),
            failure.resend().as_str(),
            failure.hint(),
        )),
        (Coded::Try(it), true) => print(format_args!("{:#}\n", try_as_json(it))),
        (Coded::Try(it), false) => print(format_args!(
            "{}: {}\n\n  status  none: it is how one try of an exchange ended\n  fix     {}\n",
            it.code(),
            it.meaning(),
            it.hint(),
        )),
    }
}

fn unknown(code: &str) -> Trouble {
    let failures = Failure::ALL.iter().map(|failure| failure.code());
    let codes: Vec<&str> = failures.chain(TryCode::ALL.iter().map(|it| it.code())).collect();
    Trouble::Mistake(format!("no failure is called `{code}`; there are: {}", codes.join(", ")))
}

fn try_as_json(it: TryCode) -> Value {
    json!({ "code": it.code(), "of": "try", "meaning": it.meaning(), "hint": it.hint() })
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
    page.push_str(
        "\n## Of tries\n\n\
        A try ends with a status, with one of the codes above, or with one that no exchange has. \
        It stands in `tries` of the flight recorder; `evenkeel explain-failure CODE` prints it, \
        too.\n\n\
        | Code | Meaning | Likely fix |\n\
        |---|---|---|\n",
    );
    for it in TryCode::ALL {
        page.push_str(&format!("| `{}` | {} | {} |\n", it.code(), it.meaning(), it.hint()));
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
        let (failures, tries) = page.split_once("\n## Of tries\n").expect("two tables");
        let rows = |text: &str, bars: usize| {
            let rows = text.lines().filter(|line| line.starts_with('|'));
            rows.inspect(|row| assert_eq!(row.matches('|').count(), bars, "{row}")).count()
        };
        assert_eq!(rows(failures, 7), Failure::ALL.len() + 2);
        assert_eq!(rows(tries, 4), TryCode::ALL.len() + 2);
        for it in TryCode::ALL {
            assert_eq!(page.matches(&format!("\n| `{}` |", it.code())).count(), 1);
            assert!(matches!(Coded::of(it.code()), Ok(Coded::Try(found)) if found == *it));
        }
    }

    #[test]
    fn a_code_that_is_none_is_answered_with_those_that_are() {
        let Trouble::Mistake(text) = unknown("nope") else { panic!("a mistake") };
        assert!(text.contains("`nope`") && text.contains("no_backend"), "{text}");
        assert!(text.contains("forsaken"), "{text}");
    }
}
