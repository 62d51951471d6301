//! Rules on lines: length of a file, width of a line, marks of unfinished work, foreign text.

use super::source::Source;
use super::{Finding, Rule};

const MAX_FILE_LINES: usize = 500;
const MAX_TEST_FILE_LINES: usize = 800;
const MAX_LINE_WIDTH: usize = 100;
/// Words of a comment that promise work.
const PROMISES: &[&str] = &["TODO", "FIXME", "XXX"];
/// Macros that stand for missing code.
const MISSING_CODE: &[&str] = &["todo", "unimplemented"];
/// Traces of the place or the tool a text was written with.
const FOREIGN: &[&str] = &[
    "/work/",    // tidy: allow(foreign_text) because this is the list itself
    "../shared", // tidy: allow(foreign_text) because this is the list itself
    "as an AI",  // tidy: allow(foreign_text) because this is the list itself
    "sub-agent", // tidy: allow(foreign_text) because this is the list itself
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    foreign(source, findings);
    if source.path.ends_with(".md") {
        return;
    }
    promises(source, findings);
    if source.is_rust() {
        length(source, findings);
        width(source, findings);
        missing_code(source, findings);
    }
}

fn foreign(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.lines.iter().enumerate() {
        if let Some(word) = FOREIGN.iter().find(|word| line.contains(**word)) {
            let message = format!("{word:?} speaks of something else than the project");
            findings.push(source.finding(index + 1, Rule::ForeignText, message));
        }
    }
}

fn promises(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.bare.iter().enumerate() {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if let Some(word) = words.find(|word| PROMISES.contains(word)) {
            let message =
                format!("{word}: do it, or write down in the changelog that it is missing");
            findings.push(source.finding(index + 1, Rule::Unfinished, message));
        }
    }
}

fn missing_code(source: &Source, findings: &mut Vec<Finding>) {
    for pair in source.tokens.windows(2) {
        if MISSING_CODE.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
            let message = format!("`{}!` is left to be done", pair[0].text);
            findings.push(source.finding(pair[0].line, Rule::Unfinished, message));
        }
    }
}

fn length(source: &Source, findings: &mut Vec<Finding>) {
    let in_tests =
        ["/tests/", "/tests.rs", "/benches/"].iter().any(|part| source.path.contains(part));
    let max = if in_tests { MAX_TEST_FILE_LINES } else { MAX_FILE_LINES };
    let lines = lines_before_tests(&source.lines);
    if lines > max {
        let message = format!("{lines} lines, at most {max}: cut where a reason to exist ends");
        findings.push(source.finding(1, Rule::FileLength, message));
    }
}

/// Lines before `#[cfg(test)]` on its own, followed by `mod tests`.
fn lines_before_tests(lines: &[String]) -> usize {
    let starts = |pair: &[String]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
    lines.windows(2).position(starts).unwrap_or(lines.len())
}

fn width(source: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in source.lines.iter().enumerate() {
        let columns = line.chars().count();
        if columns > MAX_LINE_WIDTH {
            let message = format!("{columns} columns, at most {MAX_LINE_WIDTH}");
            findings.push(source.finding(index + 1, Rule::LineWidth, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::rules;

    #[test]
    fn a_file_is_counted_up_to_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// a\n".repeat(400));
        let cases = [
            ("crates/a/src/a.rs", 500, "", vec![]),
            ("crates/a/src/a.rs", 501, "", vec!["file_length"]),
            ("crates/a/src/a.rs", 500, tests.as_str(), vec![]),
            ("crates/a/src/a.rs", 501, tests.as_str(), vec!["file_length"]),
            ("crates/a/tests/a.rs", 800, "", vec![]),
            ("crates/a/tests/it/a.rs", 801, "", vec!["file_length"]),
            ("crates/a/src/route/tests.rs", 800, "", vec![]),
            ("crates/a/benches/a.rs", 801, "", vec!["file_length"]),
        ];
        for (path, lines, end, expected) in cases {
            let text = format!("{}{end}", "// a\n".repeat(lines));
            assert_eq!(rules(path, &text), expected, "{path} {lines}");
        }
    }

    #[test]
    fn a_line_is_counted_in_letters() {
        let letters = |count: usize| format!("// {}\n", "é".repeat(count - 3));
        assert!(rules("xtask/src/a.rs", &letters(100)).is_empty());
        assert_eq!(rules("xtask/src/a.rs", &letters(101)), ["line_width"]);
        assert!(rules("docs/index.md", &letters(101)).is_empty(), "prose may be wide");
    }

    #[test]
    fn promises_and_missing_code() {
        let cases = [
            ("// TODO later", vec!["unfinished"]),
            ("// FIXME: wrong", vec!["unfinished"]),
            ("/// Done. TODO: the rest\nfn a() {}", vec!["unfinished"]),
            ("fn a() { todo!() }", vec!["unfinished"]),
            ("fn a() { unimplemented!() }", vec!["unfinished"]),
            ("fn a() -> &'static str { \"TODO\" }", vec![]),
            ("fn todo() {}", vec![]),
            ("const TODOS: u8 = 0;", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(rules("xtask/src/a.rs", text), expected, "{text}");
        }
        assert_eq!(rules("Makefile", "a: # TODO"), ["unfinished"]);
    }

    #[test]
    fn foreign_text_is_found_anywhere() {
        for word in super::FOREIGN {
            assert_eq!(rules("docs/index.md", &format!("see {word}a")), ["foreign_text"]);
            assert_eq!(rules("xtask/src/a.rs", &format!("// {word}")), ["foreign_text"]);
        }
        assert!(rules("docs/index.md", "works, shared/").is_empty());
    }
}
