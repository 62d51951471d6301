//! The reference, from the program itself: Markdown, the manual page, the environment.

use crate::arguments::command_tree;
use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use evenkeel_config::EnvironmentKey;
use serde_json::{Value, json};
use std::io;

/// Variables that are read besides the configuration keys: name, default, meaning.
const VARIABLES: [(&str, &str, &str); 4] = [
    ("EVENKEEL_CONFIG", "", "The configuration file to read when there is no -c."),
    ("EVENKEEL_REQUIRE_CONFIG", "", "1 or true: refuse to start without a configuration file."),
    ("EVENKEEL_ADMIN", "http://127.0.0.1:9900", "The admin listener that client commands ask."),
    ("NO_COLOR", "", "Not empty: no colour, even on a terminal."),
];

/// How a page defines an apostrophe that groff does not turn into a curly one.
const QUOTE_DEFINITION: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Every environment variable that is read.
pub(crate) fn environment() -> Vec<EnvironmentKey> {
    let own = VARIABLES.iter().map(|(name, default, doc)| EnvironmentKey {
        name: (*name).to_owned(),
        default: (*default).to_owned(),
        doc: (*doc).to_owned(),
    });
    own.chain(evenkeel_config::environment()).collect()
}

/// The environment as a Markdown table.
pub(crate) fn environment_markdown() -> String {
    let mut page = "# Environment variables\n\nEvery configuration key can be set from the \
        environment, over the file; flags go over both. `0` in a name stands for the index in its \
        list.\n\n| Variable | Default | Meaning |\n|---|---|---|\n"
        .to_owned();
    for key in environment() {
        let default = code(&key.default);
        push_line(&mut page, &format!("| `{}` | {default} | {} |", key.name, cell(&key.doc)));
    }
    page
}

/// The environment as lines for a terminal.
pub(crate) fn environment_text() -> String {
    let mut text = String::new();
    for key in environment() {
        push_line(&mut text, &format!("{}={}\n    {}", key.name, key.default, key.doc));
    }
    text
}

/// The environment as a JSON list.
pub(crate) fn environment_json() -> String {
    let list: Value = environment()
        .into_iter()
        .map(|key| json!({ "name": key.name, "default": key.default, "doc": key.doc }))
        .collect();
    format!("{list:#}\n")
}

/// The commands and flags as a Markdown page.
pub(crate) fn cli_markdown() -> String {
    let tree = command_tree();
    let mut page = "# Command line\n\n".to_owned();
    push_command(&mut page, &tree);
    for (name, command) in visible(&tree) {
        push_line(&mut page, &format!("## `{name}`\n"));
        push_command(&mut page, command);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// Every command that is shown, with its whole name; a command of commands before its own.
fn visible(tree: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    push_visible(tree.get_name(), tree, &mut found);
    found
}

fn push_visible<'a>(name: &str, tree: &'a Command, found: &mut Vec<(String, &'a Command)>) {
    for command in tree.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let name = format!("{name} {}", command.get_name());
        found.push((name.clone(), command));
        push_visible(&name, command, found);
    }
}

fn push_command(page: &mut String, command: &Command) {
    let mut rendered = command.clone();
    let usage = rendered.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").lines().map(str::trim);
    let usage: Vec<&str> = usage.filter(|line| !line.is_empty()).collect();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    push_line(page, &format!("{about}\n\n```text\n{}\n```\n", usage.join("\n")));
    let arguments: Vec<&Arg> = command.get_arguments().filter(|a| !a.is_hide_set()).collect();
    if !arguments.is_empty() {
        push_line(page, "| Argument | Default | Meaning |\n|---|---|---|");
        arguments.iter().for_each(|argument| push_line(page, &argument_row(argument)));
        page.push('\n');
    }
    if let Some(after) = command.get_after_help() {
        push_line(page, &format!("{after}\n"));
    }
}

fn argument_row(argument: &Arg) -> String {
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let mut default = Vec::new();
    if argument.get_action().takes_values() {
        default.extend(argument.get_default_values().iter().map(|v| v.to_string_lossy()));
        let choices = argument.get_possible_values();
        let choices: Vec<_> = choices.iter().map(|choice| code(choice.get_name())).collect();
        if !choices.is_empty() {
            meaning.push_str(&format!("; one of {}", choices.join(", ")));
        }
    }
    let (spelling, default) = (code(&argument.to_string()), code(&default.join(" ")));
    let short = argument.get_short().filter(|_| argument.get_long().is_some());
    let short = short.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    format!("| {short}{spelling} | {default} | {} |", cell(&meaning))
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// Text that cannot end a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn push_line(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

/// The manual page: the program, then every command under a heading of its own.
pub(crate) fn manual() -> String {
    let tree = command_tree();
    let main = Man::new(tree.clone()).manual("User Commands");
    let mut page = QUOTE_DEFINITION.to_owned();
    page.push_str(&roff(|out| {
        main.render_title(out)?;
        main.render_name_section(out)?;
        main.render_synopsis_section(out)?;
        main.render_description_section(out)?;
        main.render_options_section(out)
    }));
    push_line(&mut page, ".SH COMMANDS");
    for (name, command) in visible(&tree) {
        push_line(&mut page, &format!(".SS {name}"));
        let command = Man::new(command.clone());
        let section = roff(|out| {
            command.render_description_section(out)?;
            command.render_options_section(out)
        });
        let body = section.lines().filter(|line| !line.starts_with(".SH "));
        body.for_each(|line| push_line(&mut page, line));
    }
    let notes = roff(|out| main.render_extra_section(out));
    page.push_str(&notes.replace(".SH EXTRA", ".SH NOTES"));
    page
}

/// What a renderer writes, in memory, where writing cannot fail; without the definition that each
/// part begins with.
fn roff(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut text = Vec::new();
    let _ = render(&mut text);
    let text = String::from_utf8_lossy(&text);
    text.replace(QUOTE_DEFINITION, "")
}

/// The completion script of a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_tree(), "evenkeel", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_has_its_section() {
        let tree = command_tree();
        let (markdown, manual) = (cli_markdown(), manual());
        for (name, _) in visible(&tree) {
            assert!(markdown.contains(&format!("## `{name}`")), "{name}");
            assert!(manual.contains(&format!(".SS {name}\n")), "{name}");
        }
        assert!(!markdown.contains("evenkeel docs"));
        assert_eq!(manual.matches(QUOTE_DEFINITION).count(), 1);
    }

    #[test]
    fn flags_are_described() {
        let page = cli_markdown();
        let row = page.lines().find(|line| line.contains("--delay"));
        assert_eq!(
            row,
            Some("| `--delay <DELAY>` | `0s` | Wait before every answer, e.g. `200ms` |")
        );
        assert!(page.contains("| `-c`, `--config <FILE>` |"), "{page}");
        assert!(page.contains("; one of `bash`, "), "{page}");
    }

    #[test]
    fn cells_stay_in_their_table() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
        assert_eq!(code(""), "");
    }
}
