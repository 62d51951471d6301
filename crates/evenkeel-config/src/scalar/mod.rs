//! The scalar types of keys: each parses one value, says what is wrong with it, and shows it in
//! one canonical form.

mod duration;
mod http;
mod json_path;
mod net;
mod number;
mod path;
mod ratio;
mod size;
mod strategy;
mod text;

pub(crate) use duration::Time;
pub use http::shown_value;
pub(crate) use http::{
    HeaderName, HeaderValue, Host, Method, RuleHeaderName, SetHeaderName, StatusSet, is_changeable,
};
pub(crate) use json_path::JsonPath;
pub(crate) use net::{Address, Bind, BindOrOff, Cidr};
pub(crate) use number::Whole;
pub(crate) use path::{ExactPath, PathPrefix, SentPath};
pub(crate) use ratio::{Factor, Ratio};
pub(crate) use size::Size;
pub(crate) use strategy::Strategy;
pub(crate) use text::{CookieName, HashKey, Name, RateKey, RetryOn, Secret, Text, Url, uncallable};

use crate::diagnostic::Fault;
use crate::key::{Atom, Scalar};
use std::time::Duration;

/// Parses a duration as Go writes it, such as `1m30s`, `250ms` or `0.5s`.
///
/// # Errors
/// What is wrong, and what would be right: no unit, an unknown unit, negative, over 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    scalar::<Time>(text).map(|time| time.0)
}

/// Parses a share from 0 to 1, written as `0.2` or `20%`.
///
/// # Errors
/// What is wrong, and what would be right: not a number, or out of range.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    scalar::<Ratio>(text).map(|ratio| ratio.0)
}

fn scalar<T: Scalar>(text: &str) -> Result<T, String> {
    T::parse(Atom::Str(text)).map_err(|Fault { message, hint }| match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::key::{Atom, Scalar};

    /// Each text parses and is shown as expected.
    pub(crate) fn shown<T: Scalar>(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let value = T::parse(Atom::Str(text)).unwrap_or_else(|e| panic!("{text}: {e:?}"));
            let json = value.json();
            let json = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
            assert_eq!(json, *expected, "{text}");
        }
    }

    /// Each text is refused with a message or hint that holds the words.
    pub(crate) fn refused<T: Scalar>(cases: &[(&str, &str)]) {
        for (text, words) in cases {
            let Err(fault) = T::parse(Atom::Str(text)) else { panic!("{text} was taken") };
            let told = format!("{} {}", fault.message, fault.hint.unwrap_or_default());
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_duration, parse_ratio};
    use std::time::Duration;

    #[test]
    fn flags_are_told_what_would_be_right() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("3").is_err_and(|told| told.contains("write 3s")));
        assert_eq!(parse_ratio("50%"), Ok(0.5));
        assert!(parse_ratio("2").is_err_and(|told| told.contains("from 0 to 1")));
    }
}
