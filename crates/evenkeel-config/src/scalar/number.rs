//! Whole numbers in a range, and switches.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use serde_json::{Value as Json, json};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u64 = 0, const MAX: u64 = { u32::MAX as u64 }>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number as a count of things in memory.
    pub(crate) fn as_count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number, at most the largest of 32 bits.
    pub(crate) fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Whole<MIN, MAX> {
    const WORD: &'static str = "a whole number";

    fn parse(atom: Atom<'_>) -> Result<Self, Fault> {
        let text = atom.text().trim();
        let hint = match MIN == MAX {
            true => format!("only {MIN} is known"),
            false => format!("a whole number from {MIN} to {MAX}"),
        };
        let (digits, radix) = match text.get(..2) {
            Some("0x") => (&text[2..], 16),
            Some("0o") => (&text[2..], 8),
            Some("0b") => (&text[2..], 2),
            Some(_) | None => (text, 10),
        };
        let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let numeric = !unsigned.is_empty() && unsigned.chars().all(|c| c.is_digit(radix));
        match i128::from_str_radix(digits, radix) {
            Ok(number) => match u64::try_from(number) {
                Ok(number) if (MIN..=MAX).contains(&number) => Ok(Whole(number)),
                Ok(_) | Err(_) => Err(Fault::new(format!("{text} is out of range")).hint(hint)),
            },
            Err(_) if numeric => Err(Fault::new(format!("{text} is out of range")).hint(hint)),
            Err(_) => {
                Err(Fault::new(format!("expected a whole number, found {text:?}")).hint(hint))
            }
        }
    }

    fn json(&self) -> Json {
        self.0.into()
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Scalar for bool {
    const WORD: &'static str = "true or false";

    fn parse(atom: Atom<'_>) -> Result<bool, Fault> {
        match atom {
            Atom::Bool(flag) => Ok(flag),
            Atom::Str("true") => Ok(true),
            Atom::Str("false") => Ok(false),
            Atom::Number(text) | Atom::Str(text) => {
                Err(Fault::new(format!("expected true or false, found {text:?}")))
            }
        }
    }

    fn json(&self) -> Json {
        Json::Bool(*self)
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn whole_numbers() {
        shown::<Whole<0, 65535>>(&[("0", "0"), ("65535", "65535"), ("0x10", "16"), ("+3", "3")]);
        refused::<Whole<1, 65535>>(&[
            ("0", "from 1 to 65535"),
            ("-1", "out of range"),
            ("65536", "out of range"),
            ("99999999999999999999999999999999999999999999", "out of range"),
            ("1.5", "found \"1.5\""),
            ("x", "expected"),
            ("é", "expected"),
            ("", "expected"),
        ]);
    }

    #[test]
    fn switches() {
        shown::<bool>(&[("true", "true"), ("false", "false")]);
        refused::<bool>(&[("yes", "true or false"), ("1", "true or false")]);
    }
}
