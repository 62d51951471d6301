//! Shares between 0 and 1, and factors from 1.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use serde_json::{Value as Json, json};

/// `0.2` or `20%`; shown as `0.2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio(pub(crate) f64);

const HINT: &str = "a share from 0 to 1, such as 0.2 or 20%";

impl Scalar for Ratio {
    const WORD: &'static str = "a ratio";

    fn parse(atom: Atom<'_>) -> Result<Ratio, Fault> {
        let text = atom.text().trim();
        let decimal = |text: &str| {
            let digits =
                |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
            text.bytes().all(digits).then(|| text.parse::<f64>().ok()).flatten()
        };
        let value = match text.strip_suffix('%').map(str::trim_end) {
            // Shifted as text, so that 12.3% is the number nearest to 0.123.
            Some(percent) if !percent.contains(['e', 'E']) => decimal(&format!("{percent}e-2")),
            Some(_) => None,
            None => decimal(text),
        };
        match value {
            Some(value) if (0.0..=1.0).contains(&value) => Ok(Ratio(value + 0.0)),
            Some(_) => Err(Fault::new(format!("{text} is out of range")).hint(HINT)),
            None => Err(Fault::new(format!("{text:?} is not a ratio")).hint(HINT)),
        }
    }

    fn json(&self) -> Json {
        json!(self.0)
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "pattern": "^[0-9.]+ *%?$" },
        ] })
    }
}

/// A growth, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factor(pub(crate) f64);

impl Scalar for Factor {
    const WORD: &'static str = "a factor";

    fn parse(atom: Atom<'_>) -> Result<Factor, Fault> {
        let text = atom.text().trim();
        match text.parse::<f64>() {
            Ok(value) if (1.0..=100.0).contains(&value) => Ok(Factor(value)),
            Ok(_) | Err(_) => Err(Fault::new(format!("{text:?} is not a factor"))
                .hint("a number from 1 to 100, such as 1.5")),
        }
    }

    /// Whole factors without a fraction.
    fn json(&self) -> Json {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 100")]
        let whole = self.0 as u32;
        if f64::from(whole) == self.0 { json!(whole) } else { json!(self.0) }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 1, "maximum": 100 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing::{refused, shown};

    #[test]
    fn ratios() {
        shown::<Ratio>(&[
            ("0.2", "0.2"),
            ("20%", "0.2"),
            ("12.3%", "0.123"),
            ("1", "1.0"),
            ("100%", "1.0"),
            ("0", "0.0"),
            ("-0", "0.0"),
        ]);
        refused::<Ratio>(&[
            ("20q", "20%"),
            ("1.5", "range"),
            ("-0.1", "range"),
            ("101%", "range"),
            ("NaN", "not a ratio"),
            ("inf", "not a ratio"),
            ("%", "not a ratio"),
            ("", "not a ratio"),
        ]);
    }

    #[test]
    fn factors() {
        shown::<Factor>(&[("1.5", "1.5"), ("2", "2")]);
        refused::<Factor>(&[("0.9", "from 1"), ("NaN", "from 1"), ("101", "from 1"), ("x", "1.5")]);
    }
}
