// tidy: allow-file(line_width) because a table is read across
//! How a try can end that no exchange ends with: another one was made, or the exchange says it in
//! the words of [`Failure`](super::Failure).

macro_rules! try_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $hint:literal;)*) => {
        /// How a try ended, if no failure of an exchange is called so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TryCode { $($(#[doc = $doc])* $name,)* }

        impl TryCode {
            /// All of them, in the order of the table.
            pub const ALL: &'static [TryCode] = &[$(TryCode::$name,)*];

            /// The stable code in `tries` of the flight recorder.
            pub fn code(self) -> &'static str {
                match self { $(TryCode::$name => $code,)* }
            }

            /// What happened, for the operator.
            pub fn meaning(self) -> &'static str {
                match self { $(TryCode::$name => concat!($($doc,)*).trim_ascii(),)* }
            }

            /// What probably helps, for the operator.
            pub fn hint(self) -> &'static str {
                match self { $(TryCode::$name => $hint,)* }
            }
        }
    };
}

try_codes! {
    /// Its connection takes so long that another backend was tried beside.
    SlowConnect = "slow_connect", "A lost packet, a full backlog or a host that is gone: if it is always the same backend, look at its load and at the way there.";
    /// No head of a response came within `retry.per_try_timeout`.
    PerTryTimeout = "per_try_timeout", "The backend is slow or stuck: look at its log and its load; raise `retry.per_try_timeout` if it needs that long.";
    /// The backend did not answer, nor did it answer a probe meanwhile.
    Forsaken = "forsaken", "The backend hangs or is unreachable: see `evenkeel backend list` for what its probes say.";
    /// This machine has no file descriptor or port for another connection.
    NoDescriptors = "no_descriptors", "Raise `ulimit -n` of this process; many connections to one address need more local ports (`net.ipv4.ip_local_port_range`).";
    /// The call was answered with `UNAVAILABLE`, and nothing else.
    GrpcUnavailable = "grpc_unavailable", "The backend asked for another try: it starts, stops or is overloaded; look at its log.";
}

impl TryCode {
    /// The one with this code.
    pub fn of_code(code: &str) -> Option<TryCode> {
        TryCode::ALL.iter().copied().find(|it| it.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn each_is_called_as_no_failure_is_and_explains_itself() {
        for it in TryCode::ALL {
            assert_eq!(TryCode::of_code(it.code()), Some(*it));
            assert_eq!(Failure::of_code(it.code()), None);
            for text in [it.meaning(), it.hint()] {
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
        assert_eq!(TryCode::of_code("reset"), None);
    }
}
