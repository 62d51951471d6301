//! Sizes in bytes.

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use serde_json::{Value as Json, json};

/// `32KiB`, `64k`, `1m`; a plain number is bytes. From `MIN` to `MAX` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64 = 0, const MAX: u64 = { i64::MAX as u64 }>(pub(crate) u64);

/// Lower-case units; the single letters are powers of 1024, as nginx has them.
const UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

/// Bytes of a text such as `32KiB`.
fn parse_size(text: &str) -> Result<u64, Fault> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let units = "units are k, m, g (KiB, MiB, GiB) and KB, MB, GB; a plain number is bytes";
    if text.starts_with('-') {
        return Err(Fault::new(format!("{text} is negative")).hint(units));
    }
    if number.is_empty() {
        return Err(Fault::new(format!("{text:?} is not a size")).hint(units));
    }
    if unit.starts_with(['.', ',']) {
        let hint = "a smaller unit has none, such as 1536KiB for 1.5MiB";
        return Err(Fault::new(format!("{text:?} is not a whole number of a unit")).hint(hint));
    }
    let unit = unit.trim().to_ascii_lowercase();
    let scale = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => *scale,
        None if unit.is_empty() => 1,
        None => return Err(Fault::new(format!("{text:?} has an unknown unit")).hint(units)),
    };
    let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(scale));
    bytes.ok_or_else(|| Fault::new(format!("{text} is too large")))
}

fn shown(bytes: u64) -> Json {
    for (unit, scale) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return Json::String(format!("{}{unit}", bytes / scale));
        }
    }
    bytes.into()
}

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// The size as a length; more than the machine can address is the most it can.
    pub(crate) fn as_len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    const WORD: &'static str = "a size";

    fn parse(atom: Atom<'_>) -> Result<Self, Fault> {
        let bytes = parse_size(atom.text())?;
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Size(bytes));
        }
        let text = |bytes| shown(bytes).to_string().replace('"', "");
        let message = format!("{} is out of range", atom.text());
        Err(Fault::new(message).hint(format!("from {} to {}", text(MIN), text(MAX))))
    }

    fn json(&self) -> Json {
        shown(self.0)
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": MIN },
            { "type": "string", "pattern": "^[0-9]+ *([kKmMgG]([iI]?[bB])?|[bB])?$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::testing;

    #[test]
    fn sizes() {
        testing::shown::<Size>(&[
            ("32KiB", "32KiB"),
            ("64k", "64KiB"),
            ("1m", "1MiB"),
            ("30MiB", "30MiB"),
            ("2048", "2KiB"),
            ("1000", "1000"),
            ("1KB", "1000"),
            ("0", "0"),
            ("3 GiB", "3GiB"),
        ]);
        testing::refused::<Size>(&[
            ("64Kix", "KiB"),
            ("KiB", "not a size"),
            ("-1", "negative"),
            ("1.5k", "not a whole number"),
            ("99999999999999999999", "too large"),
            ("99999999999999g", "too large"),
        ]);
        testing::refused::<Size<1024, 1048576>>(&[("1", "1KiB"), ("2m", "1MiB")]);
    }
}
