//! Which of our addresses a datagram was sent to, and from which one it is answered: on a socket
//! that is bound to all of them, the system would choose another (Linux `IP_PKTINFO`, RFC 3542 6).

use evenkeel_core::flow::Ends;
use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, SockRef};
use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use tokio::net::UdpSocket;

/// Room for what the system tells about a datagram, which is one of the two things below.
const CONTROL_BYTES: usize = 64;
/// Bytes of `in_pktinfo`: an interface, our address, the address in the header.
const INFO_V4_BYTES: usize = 12;
/// Bytes of `in6_pktinfo`: our address, an interface.
const INFO_V6_BYTES: usize = 20;
/// An address of ours in `in_pktinfo` begins here.
const OWN_V4_AT: usize = 4;
const _: () = assert!(size_of::<libc::in_pktinfo>() == INFO_V4_BYTES);
const _: () = assert!(size_of::<libc::in6_pktinfo>() == INFO_V6_BYTES);
/// Bytes before what a part of the control data says.
#[expect(unsafe_code, reason = "libc declares this arithmetic unsafe")]
// SAFETY: CMSG_LEN computes a length from a length.
const HEAD_BYTES: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// From now on it is told with every datagram of this socket.
pub(super) fn tell(socket: &impl AsFd, own: SocketAddr) -> io::Result<()> {
    let option = match own {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set_flag(socket, option)
}

/// Sets an option that is on or off.
#[expect(unsafe_code, reason = "no library wraps the options that this is for")]
fn set_flag(socket: &impl AsFd, (level, option): (libc::c_int, libc::c_int)) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    const _: () = assert!(size_of::<libc::c_int>() == LEN as usize);
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the whole call, and the pointer and length describe `on`,
    // a live c_int, which is what these options take.
    let result = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::setsockopt(fd, level, option, (&raw const on).cast(), LEN)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes in the form that a receiving call takes.
#[expect(unsafe_code, reason = "the library's call takes bytes without a value only")]
fn as_unset(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: both slices have one layout, and what becomes of this one goes to `recvmsg`, which
    // writes bytes with a value or none.
    unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
}

/// Takes a datagram: its length, and between whom it goes.
pub(super) fn receive(socket: &UdpSocket, into: &mut [u8]) -> io::Result<(usize, Ends)> {
    // As long as any address of a datagram.
    let mut from = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let mut control = [0; CONTROL_BYTES];
    let mut parts = [MaybeUninitSlice::new(as_unset(into))];
    let (length, told) = {
        let message = MsgHdrMut::new().with_addr(&mut from).with_buffers(&mut parts);
        let mut message = message.with_control(as_unset(&mut control));
        let length = SockRef::from(socket).recvmsg(&mut message, 0)?;
        (length, message.control_len())
    };
    let client = from.as_socket().ok_or_else(|| io::Error::other("no address of a sender"))?;
    let called = own_address(control.get(..told).unwrap_or_default());
    Ok((length, Ends { client, called }))
}

/// Sends from one of our addresses, now or not at all.
pub(super) fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    (client, own): (SocketAddr, IpAddr),
) -> io::Result<()> {
    let to = SockAddr::from(client);
    let (control, length) = control_for(own);
    let parts = [IoSlice::new(datagram)];
    let message = MsgHdr::new().with_addr(&to).with_buffers(&parts);
    SockRef::from(socket).sendmsg(&message.with_control(&control[..length]), 0).map(drop)
}

/// What a part of the control data says of itself: its length, head included, level and type.
fn head_of(control: &[u8]) -> Option<(usize, (libc::c_int, libc::c_int))> {
    let number = |at: usize| {
        let bytes = control.get(at..at + size_of::<libc::c_int>())?;
        Some(libc::c_int::from_ne_bytes(bytes.try_into().ok()?))
    };
    // The length comes first; what it counts fits its first four bytes, or its last.
    let length = control.get(..size_of::<usize>())?;
    let length = usize::from_ne_bytes(length.try_into().ok()?);
    let level = number(std::mem::offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = number(std::mem::offset_of!(libc::cmsghdr, cmsg_type))?;
    Some((length, (level, kind)))
}

/// Our address in what the system told.
fn own_address(mut control: &[u8]) -> Option<IpAddr> {
    while let Some((length, kind)) = head_of(control) {
        let said = control.get(HEAD_BYTES..length)?;
        match kind {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let own: [u8; 4] = said.get(OWN_V4_AT..OWN_V4_AT + 4)?.try_into().ok()?;
                return Some(IpAddr::V4(Ipv4Addr::from(own)));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let own: [u8; 16] = said.get(..16)?.try_into().ok()?;
                return Some(IpAddr::V6(Ipv6Addr::from(own)));
            }
            _ => control = control.get(length.next_multiple_of(align_of::<libc::cmsghdr>())..)?,
        }
    }
    None
}

/// Control data that asks for this source, and its length.
fn control_for(own: IpAddr) -> ([u8; CONTROL_BYTES], usize) {
    let (kind, length) = match own {
        IpAddr::V4(_) => ((libc::IPPROTO_IP, libc::IP_PKTINFO), INFO_V4_BYTES),
        IpAddr::V6(_) => ((libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), INFO_V6_BYTES),
    };
    let mut control = [0; CONTROL_BYTES];
    let mut put = |at: usize, bytes: &[u8]| control[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(HEAD_BYTES + length).to_ne_bytes());
    put(std::mem::offset_of!(libc::cmsghdr, cmsg_level), &kind.0.to_ne_bytes());
    put(std::mem::offset_of!(libc::cmsghdr, cmsg_type), &kind.1.to_ne_bytes());
    match own {
        IpAddr::V4(own) => put(HEAD_BYTES + OWN_V4_AT, &own.octets()),
        IpAddr::V6(own) => put(HEAD_BYTES, &own.octets()),
    }
    (control, (HEAD_BYTES + length).next_multiple_of(align_of::<libc::cmsghdr>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reads_back() {
        for own in ["192.0.2.7", "2001:db8::7"] {
            let own: IpAddr = own.parse().expect("an address");
            let (control, length) = control_for(own);
            assert_eq!(own_address(&control[..length]), Some(own));
            // Behind something else.
            let mut other = [0; 24];
            other[..size_of::<usize>()].copy_from_slice(&(HEAD_BYTES + 4).to_ne_bytes());
            assert_eq!(own_address(&[&other, &control[..length]].concat()), Some(own));
            for cut in 0..length.min(HEAD_BYTES + 4) {
                assert_eq!(own_address(&control[..cut]), None, "{cut}");
            }
        }
    }
}
