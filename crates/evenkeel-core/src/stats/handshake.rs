//! What the TLS handshakes of clients came to.

macro_rules! handshakes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// What the TLS handshake of a client came to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Handshake { $($(#[$doc])* $name,)* }

        impl Handshake {
            /// All of them.
            pub const ALL: &'static [Handshake] = &[$(Handshake::$name,)*];

            /// Its label.
            pub fn as_str(self) -> &'static str {
                match self { $(Handshake::$name => $text,)* }
            }
        }
    };
}

handshakes! {
    /// A session.
    Success = "success";
    /// It was not over in time.
    Timeout = "timeout";
    /// There were too many at once.
    Shed = "shed";
    /// The client speaks HTTP without TLS.
    Plaintext = "plaintext";
    /// The client offers no protocol that is spoken here (RFC 7301 3.2).
    NoProtocol = "no_protocol";
    /// The client shows no certificate, and one is demanded.
    NoCertificate = "no_certificate";
    /// The client's certificate is not accepted.
    BadCertificate = "bad_certificate";
    /// The client does not accept what we show, and says so.
    Refused = "refused";
    /// The client left.
    ClientGone = "client_gone";
    /// Anything else: no common version, bytes that are no TLS.
    Failure = "failure";
}
