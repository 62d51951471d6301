//! Numbers by which the system names what went wrong with a socket. Only those that std has no
//! kind for, or not the same kind everywhere.

#[cfg(unix)]
pub(crate) use libc::{
    EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ECONNABORTED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, EINTR,
    EINVAL, EMFILE, EMSGSIZE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENOMEM, ENOPROTOOPT, ENOSYS,
    EOPNOTSUPP, EPERM, EPROTO,
};
#[cfg(windows)]
pub(crate) use winsock::*;

/// Those of Winsock, under the names that they have elsewhere.
#[cfg(windows)]
mod winsock {
    /// ERROR_TOO_MANY_OPEN_FILES.
    pub(crate) const ENFILE: i32 = 4;
    /// WSA_NOT_ENOUGH_MEMORY.
    pub(crate) const ENOMEM: i32 = 8;
    /// ERROR_CALL_NOT_IMPLEMENTED.
    pub(crate) const ENOSYS: i32 = 120;
    pub(crate) const EINTR: i32 = 10004;
    /// WSAEACCES: a rule of the firewall, or a port that another has for itself.
    pub(crate) const EPERM: i32 = 10013;
    pub(crate) const EINVAL: i32 = 10022;
    pub(crate) const EMFILE: i32 = 10024;
    /// WSAEWOULDBLOCK.
    pub(crate) const EAGAIN: i32 = 10035;
    pub(crate) const EMSGSIZE: i32 = 10040;
    /// WSAEPROTOTYPE.
    pub(crate) const EPROTO: i32 = 10041;
    pub(crate) const ENOPROTOOPT: i32 = 10042;
    pub(crate) const EOPNOTSUPP: i32 = 10045;
    pub(crate) const EAFNOSUPPORT: i32 = 10047;
    pub(crate) const EADDRNOTAVAIL: i32 = 10049;
    pub(crate) const ENETDOWN: i32 = 10050;
    pub(crate) const ENETUNREACH: i32 = 10051;
    pub(crate) const ECONNABORTED: i32 = 10053;
    pub(crate) const ECONNRESET: i32 = 10054;
    pub(crate) const ENOBUFS: i32 = 10055;
    pub(crate) const EHOSTDOWN: i32 = 10064;
    pub(crate) const EHOSTUNREACH: i32 = 10065;
}
