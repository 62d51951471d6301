//! Numbers, as people type them.

use std::ops::RangeInclusive;

/// Reads a whole number in this range.
pub(crate) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| match range.end() {
            &u64::MAX => format!("expected a whole number from {}", range.start()),
            end => format!("expected a whole number from {} to {end}", range.start()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_number_is_told_what_would_be() {
        assert_eq!(whole::<u16>(1..=1000)("1000"), Ok(1000));
        for text in ["0", "1001", "-1", "x", "", "1.5", "99999999999999999999"] {
            let wanted = Err("expected a whole number from 1 to 1000".to_owned());
            assert_eq!(whole::<u16>(1..=1000)(text), wanted, "{text}");
        }
        let wanted = Err("expected a whole number from 0".to_owned());
        assert_eq!(whole::<u64>(0..=u64::MAX)("-1"), wanted);
    }
}
