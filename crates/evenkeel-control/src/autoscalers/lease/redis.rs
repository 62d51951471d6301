//! A lease in Redis: a key that one of several balancers has for a time, and renews while it lives.
//!
//! ```text
//! SET key us NX PX term        nobody has it: it is ours from the moment before we asked
//! renewed only if it is ours   so that one who was too late takes nothing from another
//! ```
//!
//! The time runs from before the command was sent, so that we give up before Redis does. Without
//! Redis nobody new takes over, and the holder scales until its time is over.

use super::resp::{Answer, Connection};
use evenkeel_core::autoscale::RedisPlan;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// A holder that falls silent has the lease for so long.
const TERM: Duration = Duration::from_secs(10);
/// How often it is renewed, or tried for.
const RENEW: Duration = Duration::from_secs(3);
/// Bound on one exchange with Redis.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Prefix of the keys.
const KEY: &str = "evenkeel:autoscale:";
const RENEW_OURS: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
     return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end";
const DELETE_OURS: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
     return redis.call('del', KEYS[1]) else return 0 end";

/// What is known of the lease.
#[derive(Default)]
struct Tenure {
    /// Until then it is ours.
    until: Option<Instant>,
    /// Why nothing is known, if that is so.
    trouble: Option<String>,
}

/// Times of a lease; those of tests are shorter.
#[derive(Clone, Copy)]
pub(super) struct Times {
    term: Duration,
    renew: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times { term: TERM, renew: RENEW }
    }
}

/// The lease of one pool.
pub(super) struct RedisLease {
    tenure: Arc<Mutex<Tenure>>,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl RedisLease {
    /// Tries to get it from now on, and keeps it.
    pub(super) fn seek(address: RedisPlan, pool: &str, times: Times) -> RedisLease {
        let tenure = Arc::new(Mutex::new(Tenure::default()));
        let (end, ended) = oneshot::channel();
        let mut seeker = Seeker {
            address,
            key: format!("{KEY}{pool}"),
            name: own_name(),
            tenure: Arc::clone(&tenure),
            connection: None,
            times,
        };
        let task = tokio::spawn(async move { seeker.run(ended).await });
        RedisLease { tenure, end: Some(end), task }
    }

    pub(super) fn is_held(&self) -> bool {
        lock(&self.tenure).until.is_some_and(|until| Instant::now() < until)
    }

    /// Why nothing is known of it, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.tenure).trouble.clone()
    }

    /// Gives it up, so that another one need not wait; that is done when the task has ended.
    pub(super) fn give_up(mut self) -> JoinHandle<()> {
        if let Some(end) = self.end.take() {
            // It may have ended; then there is nothing to give.
            let _ = end.send(());
        }
        self.task
    }
}

fn lock(tenure: &Mutex<Tenure>) -> MutexGuard<'_, Tenure> {
    tenure.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Another process, and another start of this one, has another name.
fn own_name() -> String {
    let mut random = [0; 16];
    // Without it the name still differs from those of other processes.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let machine = super::super::machine();
    format!("{machine}:{}:{:032x}", std::process::id(), u128::from_le_bytes(random))
}

struct Seeker {
    address: RedisPlan,
    key: String,
    name: String,
    tenure: Arc<Mutex<Tenure>>,
    connection: Option<Connection>,
    times: Times,
}

impl Seeker {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            let outcome = timeout(CALL_TIMEOUT, self.try_for()).await;
            let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Err(error) = outcome {
                self.connection = None;
                lock(&self.tenure).trouble = Some(format!("{}: {error}", self.address));
            }
            tokio::select! {
                () = sleep(self.times.renew) => {}
                // A plan that is another now gives up in the same way.
                _ = &mut ended => {
                    // What cannot be given up is over with its term.
                    let _ = timeout(CALL_TIMEOUT, self.delete()).await;
                    lock(&self.tenure).until = None;
                    return;
                }
            }
        }
    }

    /// Renews what is ours, or takes what is nobody's.
    async fn try_for(&mut self) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        let asked_at = Instant::now();
        let term = self.times.term.as_millis().to_string();
        let (key, name) = (&*self.key, &*self.name);
        let renew = ["EVAL", RENEW_OURS, "1", key, name, &term];
        let mut ours = connection.ask(&renew).await? == Answer::Number(1);
        if !ours {
            let take = ["SET", key, name, "NX", "PX", &term];
            ours = connection.ask(&take).await? == Answer::Text("OK".to_owned());
        }
        self.connection = Some(connection);
        let mut tenure = lock(&self.tenure);
        tenure.until = ours.then(|| asked_at + self.times.term);
        tenure.trouble = None;
        Ok(())
    }

    async fn delete(&mut self) -> io::Result<()> {
        if let Some(connection) = &mut self.connection {
            connection.ask(&["EVAL", DELETE_OURS, "1", &self.key, &self.name]).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SHORT: Times =
        Times { term: Duration::from_millis(500), renew: Duration::from_millis(50) };
    /// Longer than anything here should take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "waited in vain for {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn seek(port: u16) -> RedisLease {
        let address = RedisPlan {
            host: "127.0.0.1".to_owned(),
            port,
            user: None,
            password: None,
            database: 0,
        };
        RedisLease::seek(address, "web", SHORT)
    }

    #[tokio::test]
    async fn it_is_taken_renewed_and_over_when_redis_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = String::new();
            // Not ours yet, taken; then renewed twice.
            for answer in [":0\r\n", "+OK\r\n", ":1\r\n", ":1\r\n"] {
                let mut piece = [0; 1024];
                let length = stream.read(&mut piece).await.unwrap();
                asked.push_str(std::str::from_utf8(&piece[..length]).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let lease = seek(port);
        eventually("the lease", || lease.is_held()).await;
        let asked = server.await.unwrap();
        assert!(asked.contains("SET\r\n$22\r\nevenkeel:autoscale:web\r\n"), "{asked}");
        assert!(asked.contains("NX\r\n$2\r\nPX\r\n$3\r\n500\r\n"), "{asked}");
        assert_eq!(asked.matches("pexpire").count(), 3, "{asked}");
        // Nobody listens any more.
        eventually("the end of the term", || !lease.is_held()).await;
        let trouble = lease.trouble().expect("a reason");
        assert!(trouble.starts_with(&format!("redis://127.0.0.1:{port}/0: ")), "{trouble}");
    }

    struct Server(Child);

    impl Server {
        fn start(port: u16) -> Server {
            let mut command = Command::new("redis-server");
            let port = port.to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            Server(command.stdout(Stdio::null()).spawn().expect("redis-server starts"))
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    #[ignore = "needs redis-server"]
    async fn one_of_two_has_it_and_nobody_takes_over_without_redis() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server::start(port);
        let (one, other) = (seek(port), seek(port));
        let held = || u8::from(one.is_held()) + u8::from(other.is_held());
        eventually("a holder", || held() == 1).await;
        let (first, second) = if one.is_held() { (one, other) } else { (other, one) };
        // It is renewed over several terms.
        let until = Instant::now() + SHORT.term * 4;
        while Instant::now() < until {
            assert!(!second.is_held());
            sleep(Duration::from_millis(20)).await;
        }
        assert!(first.is_held());
        first.give_up().await.unwrap();
        eventually("the other one", || second.is_held()).await;
        let first = seek(port);
        drop(server);
        eventually("the end of the term", || !second.is_held()).await;
        let until = Instant::now() + SHORT.term * 2;
        while Instant::now() < until {
            assert!(!first.is_held() && !second.is_held(), "there is no Redis");
            sleep(Duration::from_millis(20)).await;
        }
        let _again = Server::start(port);
        eventually("a holder", || first.is_held() != second.is_held()).await;
    }
}
