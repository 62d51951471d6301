//! `token new`: a token for the admin listener, and its line for the tokens file.

use crate::arguments::{TokenCommand, TokenRole};
use crate::output::print;
use crate::trouble::Trouble;
use evenkeel_control::FreshToken;
use serde_json::{Value, json};

/// Makes a token.
pub(crate) fn run(command: &TokenCommand) -> Result<(), Trouble> {
    let TokenCommand::New { name, role, json } = command;
    if name.trim().is_empty() || name.contains(char::is_control) {
        let text = "a token needs a name, on one line: it is the author of what is done with it";
        return Err(Trouble::Mistake(text.to_owned()));
    }
    let role = match role {
        TokenRole::Viewer => "viewer",
        TokenRole::Operator => "operator",
        TokenRole::Admin => "admin",
    };
    let no_chance = || Trouble::CannotStart("the system gives no random numbers".to_owned());
    let FreshToken { token, sha256 } = FreshToken::draw().ok_or_else(no_chance)?;
    // JSON text is YAML text.
    let quoted = Value::from(name.as_str());
    let line = format!("- {{ name: {quoted}, role: {role}, sha256: \"{sha256}\" }}");
    if *json {
        let answer = json!({
            "name": name, "role": role, "token": token, "sha256": sha256, "line": line,
        });
        return print(format_args!("{answer:#}\n"));
    }
    print(format_args!(
        "token, shown once; for --token-file or `Authorization: Bearer`:\n{token}\n\n\
         line for admin.tokens_file, under `tokens:`:\n  {line}\n"
    ))
}
