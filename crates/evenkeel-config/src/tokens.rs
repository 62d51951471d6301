//! The tokens file of the admin listener.

use crate::diagnostic::{Diagnostics, Fault, Problem, SourceLines};
use crate::key::{Atom, Key, Scalar};
use crate::reader::Reader;
use crate::scalar::Name;
use crate::section::{choice, section};
use crate::tree_yaml;
use serde_json::{Value as Json, json};
use std::collections::HashMap;

const DIGEST_BYTES: usize = 32;

/// Whose token it is, what it allows, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Unique; the author of what is done with the token.
    pub name: String,
    /// What it allows.
    pub role: TokenRole,
    /// SHA-256 of the token.
    pub sha256: [u8; DIGEST_BYTES],
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRole {
    /// To read.
    Viewer,
    /// To steer backends and pools as well.
    Operator,
    /// Everything.
    Admin,
}

section! {
    /// A tokens file.
    TokensFile {
        /// All of them.
        tokens: Vec<Token> = Vec::new(), required;
    }
}

section! {
    /// A token.
    Token {
        /// Unique.
        name: Name = Name::default(), required;
        /// What it allows.
        role: Role = Role::Viewer, required;
        /// SHA-256 of the token, in hexadecimal digits.
        sha256: Digest = Digest::default(), required;
    }
}

choice! {
    /// What a token allows.
    Role ("a role") {
        /// To read.
        Viewer = "viewer",
        /// To steer.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
}

/// A SHA-256 in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest([u8; DIGEST_BYTES]);

impl Scalar for Digest {
    const WORD: &'static str = "a SHA-256";

    fn parse(atom: Atom<'_>) -> Result<Digest, Fault> {
        let text = atom.text();
        let mut digest = [0; DIGEST_BYTES];
        let refuse = || {
            Fault::new("is no SHA-256: 64 hexadecimal digits are expected")
                .hint("`evenkeel token new --name N --role R` prints the whole line")
        };
        if text.len() != 2 * DIGEST_BYTES || !text.is_ascii() {
            return Err(refuse());
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).filter(|it| !it.contains('+'));
            let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            *byte = value.ok_or_else(refuse)?;
        }
        Ok(Digest(digest))
    }

    fn json(&self) -> Json {
        Json::String(self.0.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

/// Reads a tokens file.
///
/// # Errors
/// Everything that is wrong, sorted by position.
pub fn tokens(name: &str, text: &str) -> Result<Vec<TokenEntry>, Diagnostics> {
    let lines = SourceLines::new(name, text.to_owned());
    let tree = match tree_yaml::parse(text) {
        Ok(tree) => tree,
        Err(problem) => return Err(lines.diagnostics(vec![problem])),
    };
    let mut reader = Reader::default();
    let file = TokensFile::read(&tree, &mut reader).unwrap_or_default();
    let mut problems = reader.problems;
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, token) in file.tokens.iter().enumerate() {
        let name = token.name.0.as_str();
        if !name.is_empty() && first.insert(name, index).is_some() {
            let path = format!("tokens[{index}].name");
            let place = tree.place_at(&path).clone();
            let fault = Fault::new(format!("a second token named {name:?}"));
            problems.push(Problem { place, path, fault });
        }
    }
    if !problems.is_empty() {
        return Err(lines.diagnostics(problems));
    }
    Ok(file.tokens.into_iter().map(entry).collect())
}

fn entry(token: Token) -> TokenEntry {
    let role = match token.role {
        Role::Viewer => TokenRole::Viewer,
        Role::Operator => TokenRole::Operator,
        Role::Admin => TokenRole::Admin,
    };
    TokenEntry { name: token.name.0, role, sha256: token.sha256.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_file_is_read() {
        let text = format!("tokens:\n  - {{ name: ci, role: operator, sha256: \"{ZEROS}\" }}\n");
        let wanted =
            TokenEntry { name: "ci".to_owned(), role: TokenRole::Operator, sha256: [0; 32] };
        assert_eq!(tokens("t.yaml", &text), Ok(vec![wanted]));
        assert_eq!(tokens("t.yaml", "tokens: []"), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let line = |rest: &str| format!("tokens:\n  - {{ name: a, {rest} }}\n");
        let good = format!("role: admin, sha256: \"{ZEROS}\"");
        let cases = [
            (String::new(), "t.yaml:1:1"),
            ("tokens: 3\n".to_owned(), "t.yaml:1:9: tokens: expected"),
            (line(&good.replace("admin", "boss")), "tokens[0].role: \"boss\" is not known"),
            (line(&good.replace("sha256", "sha")), "`sha256` is missing"),
            (line("role: admin, sha256: abc"), "64 hexadecimal digits"),
            (line(&good.replace("000", "+00")), "64 hexadecimal digits"),
            (line(&good) + &line(&good)[8..], "t.yaml:3:13: tokens[1].name: a second token"),
        ];
        for (text, wanted) in cases {
            let told = tokens("t.yaml", &text).expect_err(&text).to_string();
            assert!(told.contains(wanted), "{text}\n{told}\n{wanted}");
        }
    }
}
