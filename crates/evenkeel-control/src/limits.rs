//! Every bound of the control plane.

use std::time::Duration;

/// Open connections of the admin listener. The last place is kept free: whoever has kept us waiting
/// the longest leaves for it.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// How often it is looked whether somebody can leave, while all others are at work.
pub(crate) const SEAT_PAUSE: Duration = Duration::from_millis(50);
/// Connections waiting in the kernel to be accepted.
pub(crate) const ACCEPT_BACKLOG: i32 = 128;
/// How long accepting rests after an error, e.g. when file descriptors have run out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Number of fields of a request.
pub(crate) const MAX_FIELDS: usize = 64;
/// Bytes of a head that are read at all: what is longer is refused without a body, unread.
pub(crate) const MAX_READ_BYTES: usize = 4 * MAX_HEAD_BYTES;
/// Fields that are read at all.
pub(crate) const MAX_READ_FIELDS: usize = 4 * MAX_FIELDS;
/// For a request's head, and without a request on a kept-alive connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request's body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's body.
pub(crate) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a tokens file.
pub(crate) const MAX_TOKENS_BYTES: u64 = 1024 * 1024;
/// Bytes of a token.
pub(crate) const MAX_TOKEN_BYTES: usize = 1024;
/// Tokens of whom it is known from where they were let in.
pub(crate) const MAX_PROVEN_TOKENS: usize = 256;
/// Unknown tokens that an address may send one after the other.
pub(crate) const MAX_FAILURES: u32 = 10;
/// Addresses whose unknown tokens are counted.
pub(crate) const MAX_FAILING_ADDRESSES: usize = 4096;
/// Clients that listen to events at a time.
pub(crate) const MAX_EVENT_LISTENERS: usize = 64;
/// An event stream without events says so this often.
pub(crate) const EVENTS_ALIVE: Duration = Duration::from_secs(15);
/// How long `stop` waits for the thread, which ends the backends that it has started.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Look-ups that run at the same time.
pub(crate) const MAX_LOOKUPS: usize = 16;
/// One look-up, all its tries and search domains together.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses kept of one name.
pub(crate) const MAX_ADDRESSES: usize = 1024;
/// The shortest time between two look-ups of a name that resolves.
pub(crate) const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(300);
/// How long an answer from the hosts file is believed: it has no TTL, and reading it is cheap.
pub(crate) const HOSTS_TTL: Duration = Duration::from_secs(5);
/// After a first failed look-up; doubles with each further one.
pub(crate) const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The longest time between two failing look-ups.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Share by which a wait is stretched at most, so that names do not fall due together for ever.
pub(crate) const JITTER: f64 = 0.1;

/// What discovery has found is put in force after so long, with what else is found meanwhile.
pub(crate) const DISCOVERY_SETTLE: Duration = Duration::from_millis(200);
/// A set that cannot be put in force is tried again after so long.
pub(crate) const DISCOVERY_RETRY: Duration = Duration::from_secs(5);
/// Answers of all discoveries that wait to be looked at.
pub(crate) const MAX_DISCOVERY_ANSWERS: usize = 64;
/// Between two questions to a source that fails, unless the configuration wants longer ones.
pub(crate) const MAX_DISCOVERY_PAUSE: Duration = Duration::from_secs(60);
/// Slices of endpoints of one `Service`; each has 1000 endpoints at most.
pub(crate) const MAX_SLICES: usize = 1000;
/// Hosts that SRV records of one name may have.
pub(crate) const MAX_SRV_TARGETS: usize = 1000;
/// Bytes of a file of targets.
pub(crate) const MAX_TARGETS_BYTES: u64 = 8 * 1024 * 1024;
/// A file of targets that is being written is left alone until it has been the same for so long.
pub(crate) const FILE_SETTLE: Duration = Duration::from_millis(100);
/// Looks at a file of targets that does not settle.
pub(crate) const MAX_FILE_LOOKS: usize = 25;
