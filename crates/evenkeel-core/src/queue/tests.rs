//! Turns, ends and waits, in virtual time. A waker is the number of the one it wakes.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const START: Nanos = Nanos(1_000_000_000);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn at(count: u64) -> Nanos {
    START.after(ms(count))
}

/// Ten places, one second.
fn queue() -> Queue<u32> {
    Queue::new(10, ms(1000))
}

fn join(queue: &mut Queue<u32>, now: Nanos, waker: u32) -> Ticket {
    queue.join(now, Nanos::NEVER, waker).expect("room")
}

#[test]
fn calls_in_the_order_of_joining() {
    let mut queue = queue();
    let tickets: Vec<Ticket> = (0..4).map(|one| join(&mut queue, at(0), one)).collect();
    assert_eq!(queue.call_next(at(1)), Some(0));
    assert_eq!(queue.leave(tickets[1], at(1)), None, "it had only waited");
    queue.set_waker(tickets[2], 22);
    assert_eq!(queue.call_next(at(1)), Some(22));
    assert_eq!(queue.len(), 1);
    let places = tickets.iter().map(|ticket| queue.poll(*ticket, at(2))).collect::<Vec<_>>();
    assert_eq!(places, [Place::Called, Place::TimedOut, Place::Called, Place::Waiting]);
    assert_eq!(queue.poll(tickets[0], at(2)), Place::TimedOut, "it is out already");
    assert_eq!(queue.call_next(at(3)), Some(3));
    assert_eq!(queue.call_next(at(3)), None);
}

#[test]
fn an_unused_call_goes_to_the_next() {
    let mut queue = queue();
    let tickets: Vec<Ticket> = (0..3).map(|one| join(&mut queue, at(0), one)).collect();
    assert_eq!(queue.call_next(at(1)), Some(0));
    assert_eq!(queue.leave(tickets[0], at(1)), Some(1));
    assert_eq!(queue.leave(tickets[1], at(1)), Some(2));
    assert_eq!(queue.poll(tickets[2], at(1)), Place::Called);
    assert_eq!(queue.leave(tickets[2], at(1)), None, "the place is its owner's");
}

#[test]
fn a_full_queue_refuses_at_once() {
    let mut queue = queue();
    let first = join(&mut queue, at(0), 0);
    for one in 1..10 {
        join(&mut queue, at(0), one);
    }
    let more = |queue: &mut Queue<u32>| queue.join(at(1), Nanos::NEVER, 99);
    assert_eq!(more(&mut queue), Err(Refusal::Full));
    assert_eq!(queue.call_next(at(1)), Some(0));
    assert_eq!(more(&mut queue), Err(Refusal::Full), "the called one has not looked");
    assert_eq!(queue.poll(first, at(1)), Place::Called);
    assert!(more(&mut queue).is_ok());
    let mut none: Queue<u32> = Queue::new(0, ms(1000));
    assert_eq!(more(&mut none), Err(Refusal::Full));
}

#[test]
fn nobody_waits_longer_than_he_may() {
    // Time of joining, deadline, and the first millisecond at which its time is over.
    let cases = [(0, None, 1000), (0, Some(300), 300), (0, Some(0), 0), (500, None, 1500)];
    for (joined, deadline, over) in cases {
        let deadline = deadline.map_or(Nanos::NEVER, at);
        let fresh = || {
            let mut queue = queue();
            let ticket = queue.join(at(joined), deadline, 5).expect("room");
            (queue, ticket)
        };
        if over > joined {
            let (mut queue, ticket) = fresh();
            assert_eq!(queue.poll(ticket, at(over - 1)), Place::Waiting);
            assert!(queue.expired(at(over - 1)).is_empty());
            assert_eq!(queue.call_next(at(over - 1)), Some(5));
            assert_eq!(queue.poll(ticket, at(over + 1)), Place::Called, "called in time");
        }
        let (mut queue, ticket) = fresh();
        assert_eq!(queue.poll(ticket, at(over)), Place::TimedOut);
        assert!(queue.is_empty() && queue.expired(at(over)).is_empty());
        let (mut queue, ticket) = fresh();
        assert_eq!(queue.call_next(at(over)), None);
        assert_eq!(queue.expired(at(over)), [5], "its owner has to be told");
        assert!(queue.expired(at(over)).is_empty(), "once");
        assert_eq!(queue.poll(ticket, at(over)), Place::TimedOut);
        assert_eq!(queue.leave(ticket, at(over)), None);
    }
}

#[test]
fn a_burst_is_served_whole() {
    let mut queue = Queue::new(100, ms(1000));
    for one in 0..99 {
        join(&mut queue, at(0), one);
    }
    for one in 0..99 {
        assert_eq!(queue.call_next(at(u64::from(one) * 10)), Some(one));
    }
}

/// Arrivals every 10 ms, one call every 20 ms: the longest wait of those called, per second.
#[test]
fn a_standing_overload_is_cut_to_fresh_requests() {
    let mut queue = Queue::new(1000, ms(1000));
    let mut joined = BTreeMap::new();
    let mut longest = [0; 5];
    for step in 0..500_u32 {
        let time = u64::from(step) * 10;
        let ticket = join(&mut queue, at(time), step);
        joined.insert(step, (ticket, time));
        if step % 2 == 0 {
            let called = queue.call_next(at(time)).expect("there is always a fresh one");
            let (ticket, since) = joined[&called];
            let second = usize::try_from(time / 1000).expect("small");
            longest[second] = longest[second].max(time - since);
            assert_eq!(queue.poll(ticket, at(time)), Place::Called);
        }
        for late in queue.expired(at(time)) {
            assert_eq!(queue.poll(joined[&late].0, at(time)), Place::TimedOut);
        }
    }
    assert!((400..1000).contains(&longest[0]), "{longest:?}");
    assert!(longest[2..].iter().all(|wait| (50..100).contains(wait)), "{longest:?}");
}

#[test]
fn a_queue_that_was_empty_once_is_patient_again() {
    let mut queue = queue();
    join(&mut queue, at(0), 0);
    join(&mut queue, at(900), 1);
    assert_eq!(queue.call_next(at(950)), Some(0));
    let second = join(&mut queue, at(1000), 2);
    assert_eq!(queue.poll(second, at(1000)), Place::Waiting);
    assert_eq!(queue.poll(second, at(1099)), Place::Waiting);
    assert_eq!(queue.call_next(at(1100)), None, "a tenth of a second is over for both");
    let third = join(&mut queue, at(1200), 3);
    assert_eq!(queue.poll(third, at(2199)), Place::Waiting, "nobody waited before it");
}

#[test]
fn who_waits_for_a_first_backend_has_all_its_time_and_its_own_bound() {
    let mut queue = Queue::new(2, ms(1000));
    let hold = |queue: &mut Queue<u32>, now: u64, waker: u32| {
        queue.join_start(at(now), at(now + 30_000), waker, 3)
    };
    let held: Vec<Ticket> =
        (0..3_u32).map(|one| hold(&mut queue, u64::from(one), one).expect("room")).collect();
    assert_eq!(hold(&mut queue, 5, 9), Err(Refusal::Full));
    assert_eq!(queue.starts(), 3);
    // Long after `timeout` nobody has run out of time, and nobody is hurried.
    assert!(queue.expired(at(20_000)).is_empty());
    // Those who come when there is a backend line up behind, in the bound of the queue.
    let late = join(&mut queue, at(20_000), 3);
    join(&mut queue, at(20_000), 4);
    assert_eq!(queue.join(at(20_000), Nanos::NEVER, 5), Err(Refusal::Full));
    assert_eq!(queue.call_next(at(20_001)), Some(0));
    assert_eq!(queue.poll(held[0], at(20_001)), Place::Called);
    let stand = Stand { joined: at(0), deadline: at(30_000), stay: Stay::Start };
    assert_eq!(queue.pass_on(held[0], stand, at(20_001), 0), Some(1), "it waits where it stood");
    assert_eq!(queue.starts(), 3);
    assert_eq!(queue.leave(held[1], at(20_002)), Some(0), "and is called before all others");
    assert_eq!(queue.poll(held[0], at(20_002)), Place::Called);
    assert_eq!(queue.call_next(at(20_003)), Some(2));
    assert_eq!(queue.poll(held[2], at(20_003)), Place::Called);
    assert_eq!(queue.starts(), 0);
    // From here on the queue's own time counts, and it is not a standing one.
    assert_eq!(queue.poll(late, at(20_900)), Place::Waiting);
    assert_eq!(queue.poll(late, at(21_000)), Place::TimedOut);
}

#[test]
fn a_start_that_does_not_come_ends_at_the_deadline() {
    let mut queue = queue();
    let ticket = queue.join_start(at(0), at(2_000), 7, 1).expect("room");
    assert_eq!(queue.poll(ticket, at(1_999)), Place::Waiting);
    assert_eq!(queue.expired(at(2_000)), [7]);
    assert_eq!(queue.poll(ticket, at(2_000)), Place::TimedOut);
    assert_eq!(queue.starts(), 0);
    assert!(queue.join_start(at(2_001), at(4_000), 8, 1).is_ok(), "its place is free again");
}

/// What is done with the queue in a random run. Who is meant is drawn from those in the queue.
#[derive(Clone, Debug)]
enum Act {
    Join { patience: Option<u64> },
    Call,
    Poll { whom: usize },
    Leave { whom: usize },
    Tick,
    Pass { millis: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::option::of(0u64..200).prop_map(|patience| Act::Join { patience }),
        2 => Just(Act::Call),
        2 => (0usize..8).prop_map(|whom| Act::Poll { whom }),
        1 => (0usize..8).prop_map(|whom| Act::Leave { whom }),
        1 => Just(Act::Tick),
        3 => (0u64..60).prop_map(|millis| Act::Pass { millis }),
    ]
}

/// One that joined, as the test remembers it.
struct Client {
    ticket: Ticket,
    joined: Nanos,
    deadline: Nanos,
    called: bool,
    woken: bool,
}

const MAX: usize = 8;
const TIMEOUT: Duration = Duration::from_millis(100);

/// The queue, and those of its clients who have not ended, by waker.
struct Run {
    queue: Queue<u32>,
    clients: BTreeMap<u32, Client>,
    now: Nanos,
    next: u32,
    /// Places given up, places taken, and calls that found nobody.
    freed: usize,
    taken: usize,
    idle: usize,
}

impl Run {
    fn whom(&self, draw: usize) -> Option<u32> {
        let count = self.clients.len().max(1);
        self.clients.keys().nth(draw % count).copied()
    }

    fn call(&mut self, waker: Option<u32>) {
        let now = self.now;
        let Some(called) = waker else {
            let is_over = |client: &Client| {
                let short = client.joined.after(TIMEOUT / STANDING_DIVISOR);
                client.called || now >= client.deadline || now >= short
            };
            assert!(self.clients.values().all(is_over), "nobody was called, but one waits");
            self.idle += 1;
            return;
        };
        let patient = |client: &Client| now < client.deadline && now < client.joined.after(TIMEOUT);
        let client = self.clients.get_mut(&called).expect("not ended before");
        assert!(!client.called && patient(client), "{called} was called late or twice");
        let fresh = client.joined;
        client.called = true;
        // Whoever came before it and was not called had run out of time. In a standing queue that
        // is sooner, but never sooner than for one that came later.
        for (_, other) in self.clients.range(..called).filter(|(_, other)| !other.called) {
            let short = other.joined.after(TIMEOUT / STANDING_DIVISOR);
            assert!(!patient(other) || (now >= short && other.joined < fresh), "{called} jumped");
        }
    }

    fn end(&mut self, number: u32) {
        let client = &self.clients[&number];
        match self.queue.poll(client.ticket, self.now) {
            Place::Waiting => {
                assert!(!client.called && self.now < client.deadline);
                assert!(self.now < client.joined.after(TIMEOUT));
                return;
            }
            Place::Called => {
                assert!(client.called);
                self.taken += 1;
            }
            Place::TimedOut => {
                let short = client.joined.after(TIMEOUT / STANDING_DIVISOR);
                assert!(!client.called && (self.now >= client.deadline || self.now >= short));
            }
        }
        self.clients.remove(&number);
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join { patience } => {
                let deadline =
                    patience.map_or(Nanos::NEVER, |patience| self.now.after(ms(patience)));
                let Ok(ticket) = self.queue.join(self.now, deadline, self.next) else {
                    assert_eq!(self.clients.len(), MAX, "refused though there was room");
                    return;
                };
                let joined = self.now;
                let client = Client { ticket, joined, deadline, called: false, woken: false };
                self.clients.insert(self.next, client);
                self.next += 1;
            }
            Act::Call => {
                self.freed += 1;
                let waker = self.queue.call_next(self.now);
                self.call(waker);
            }
            Act::Poll { whom } => {
                if let Some(number) = self.whom(whom) {
                    self.end(number);
                }
            }
            Act::Leave { whom } => {
                let Some(client) = self.whom(whom).and_then(|number| self.clients.remove(&number))
                else {
                    return;
                };
                let waker = self.queue.leave(client.ticket, self.now);
                assert!(client.called || waker.is_none(), "it had no place to give");
                if client.called {
                    self.call(waker);
                }
            }
            Act::Tick => {
                for late in self.queue.expired(self.now) {
                    let client = self.clients.get_mut(&late).expect("not ended before");
                    assert!(!client.called && !client.woken, "{late} was told otherwise before");
                    client.woken = true;
                }
            }
            Act::Pass { millis } => self.now = self.now.after(ms(millis)),
        }
    }
}

proptest! {
    /// No ticket is lost, ends twice, is called out of turn or waits too long; and no place is.
    #[test]
    fn every_ticket_has_one_end(acts in vec(act(), 1..200)) {
        let queue = Queue::new(MAX, TIMEOUT);
        let clients = BTreeMap::new();
        let mut run = Run { queue, clients, now: START, next: 0, freed: 0, taken: 0, idle: 0 };
        for act in &acts {
            run.act(act);
            prop_assert!(run.clients.len() <= MAX);
            prop_assert_eq!(run.queue.waiting.len() + run.queue.settled.len(), run.clients.len());
        }
        run.now = run.now.after(TIMEOUT);
        run.act(&Act::Tick);
        prop_assert!(run.clients.values().all(|client| client.called != client.woken));
        for number in run.clients.keys().copied().collect::<Vec<_>>() {
            run.end(number);
        }
        prop_assert!(run.clients.is_empty());
        prop_assert_eq!(run.freed, run.taken + run.idle);
        prop_assert!(run.queue.is_empty() && run.queue.settled.is_empty());
    }
}
