//! The scalar types of keys: each parses one value, says what is wrong with it, and shows it in
//! one canonical form.

mod duration;
mod http;
mod net;
mod number;
mod path;
mod ratio;
mod size;
mod strategy;
mod text;

pub(crate) use duration::Time;
pub(crate) use http::{HeaderName, HeaderValue, Host, Method, RuleHeaderName, StatusSet};
pub(crate) use net::{Address, Bind, BindOrOff, Cidr};
pub(crate) use number::Whole;
pub(crate) use path::{ExactPath, PathPrefix};
pub(crate) use ratio::Ratio;
pub(crate) use size::Size;
pub(crate) use strategy::Strategy;
pub(crate) use text::{Name, RateKey, RetryOn, Secret, Text};

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
