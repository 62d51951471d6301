//! Affinity: who stays with whom, what the cookie tells and hides, and when a tie ends.

use crate::arena::each;
use crate::stage::{Player, Stage, answer, get, get_with};
use evenkeel_core::affinity::{BackendId, CookieKeys};
use evenkeel_core::plan::{AdminState, AffinityPlan, CookiePlan};
use evenkeel_testkit::message::Message;
use evenkeel_testkit::plan::PlanBuilder;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const OLD: &str = "an older secret, long enough";
const NEW: &str = "a newer secret, long enough";
const HOUR: u64 = 3600;

/// A folder with a file of keys in it.
fn keys_in(text: &str) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

fn tied(secret_file: Option<&Path>) -> impl Fn(PlanBuilder) -> PlanBuilder {
    let secret_file = secret_file.map(Path::to_owned);
    move |plan| {
        plan.pool(|pool| {
            let ttl = Duration::from_secs(HOUR);
            let secret_file = secret_file.clone();
            pool.affinity =
                AffinityPlan::Cookie(CookiePlan { name: "ek".into(), ttl, secret_file });
        })
    }
}

/// A cookie that is as good as the keys are.
fn forge(keys: &str, pool: &str, (backend, expires_unix): (&str, u64)) -> String {
    let keys = CookieKeys::parse(keys).expect("keys");
    format!("ek={}", keys.issue(pool, BackendId::of(pool, backend), expires_unix))
}

fn in_an_hour() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + HOUR
}

fn with_cookie(cookie: &str) -> String {
    get_with("/", &format!("Cookie: {cookie}\r\n"))
}

/// `NAME=VALUE` of the cookie that the response sets.
fn cookie_of(response: &Message) -> Option<String> {
    Some(response.value("set-cookie")?.split(';').next()?.to_owned())
}

#[test]
fn a_session_that_is_used_is_renewed_in_the_second_half_of_its_life() {
    let (_folder, file) = keys_in(OLD);
    let ends_in = |left: u64| in_an_hour() - HOUR + left;
    for (admin, left, renewed) in [
        (AdminState::Enabled, HOUR - 60, false),
        (AdminState::Enabled, HOUR / 2 - 60, true),
        (AdminState::Draining, HOUR / 2 - 60, false),
    ] {
        let tie = tied(Some(&file));
        let stage = Stage::of(2, |plan| tie(plan).pool(|pool| pool.backends[0].admin = admin));
        let backend = stage.players[0].backend.address();
        let old = forge(OLD, "web", (backend, ends_in(left)));
        let response = stage.ask(&with_cookie(&old));
        let new = cookie_of(&response);
        assert_eq!(new.is_some(), renewed, "{admin:?}, {left} s left: {response:?}");
        let Some(new) = new else { continue };
        assert_ne!(new, old);
        assert_eq!(cookie_of(&stage.ask(&with_cookie(&new))), None, "a young one is enough");
    }
}

#[test]
fn a_session_begins_and_stays() {
    let stage = Stage::of(3, tied(None));
    for _ in 0..6 {
        let first = stage.ask(&get("/"));
        let set = first.value("set-cookie").expect("a cookie").to_owned();
        let parts: Vec<_> = set.split("; ").skip(1).collect();
        assert_eq!(parts, ["Path=/", "Max-Age=3600", "HttpOnly", "SameSite=Lax"], "{set}");
        let cookie = cookie_of(&first).expect("a cookie");
        assert!(!cookie.contains("127.0.0.1") && cookie.starts_with("ek="), "{cookie}");
        for _ in 0..5 {
            let next = stage.ask(&with_cookie(&cookie));
            assert_eq!(next.text(), first.text());
            assert_eq!(next.value("set-cookie"), None, "only a new session is told");
        }
    }
    assert_eq!(stage.counts(), [12, 12, 12], "newcomers are spread");
}

#[test]
fn other_cookies_pass_untouched_and_ours_stays_here() {
    let stage = Stage::of(1, tied(None));
    let own = cookie_of(&stage.ask(&get("/"))).expect("a cookie");
    let cases = [
        ("ours alone", (own.clone(), None)),
        ("ours first", (format!("{own}; a=1; b=2"), Some("a=1; b=2"))),
        ("between", (format!("a=\"x y\";{own};  b=%20=="), Some("a=\"x y\";  b=%20=="))),
        ("last", (format!("a=1; {own}"), Some("a=1"))),
        ("twice", (format!("{own}; a=1; ek=else"), Some("a=1"))),
        ("names alike", ("eka=1; EK=2; a.ek=3".to_owned(), Some("eka=1; EK=2; a.ek=3"))),
        ("none of ours", ("a=1;b=2;;  c".to_owned(), Some("a=1;b=2;;  c"))),
    ];
    each(cases, |(sent, expected)| {
        assert_eq!(stage.ask(&with_cookie(sent)).status(), 200);
        let seen = stage.players[0].tally().requests.pop().expect("a request");
        assert_eq!(seen.value("cookie"), *expected);
        Ok(())
    });
}

#[test]
fn cookies_of_the_backend_stand_beside_ours() {
    let stage = Stage::of(1, tied(None));
    stage.players[0].says(answer(200, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n", "ok"));
    let response = stage.ask(&get("/"));
    let set = response.values("set-cookie");
    assert_eq!(set.len(), 3, "{set:?}");
    assert!(set.contains(&"a=1") && set.contains(&"b=2"));
}

#[test]
fn what_is_not_ours_begins_anew() {
    let (_folder, file) = keys_in(NEW);
    let stage = Stage::of(2, tied(Some(&file)));
    let a = stage.players[0].backend.address();
    let genuine = forge(NEW, "web", (a, in_an_hour()));
    assert_eq!(cookie_of(&stage.ask(&with_cookie(&genuine))), None, "as good as our own");
    let mut flipped = genuine.clone().into_bytes();
    let last = flipped.last_mut().expect("not empty");
    *last = if *last == b'0' { b'1' } else { b'0' };
    let cases = [
        ("a flipped digit", String::from_utf8(flipped).expect("ASCII")),
        ("another key", forge(OLD, "web", (a, in_an_hour()))),
        ("another pool", forge(NEW, "api", (a, in_an_hour()))),
        ("expired", forge(NEW, "web", (a, in_an_hour() - HOUR - 1))),
        ("an unknown backend", forge(NEW, "web", ("10.0.0.1:80", in_an_hour()))),
        ("cut", genuine[..genuine.len() - 2].to_owned()),
        ("empty", "ek=".to_owned()),
        ("an address", format!("ek={a}")),
        ("long", format!("ek={}", "0".repeat(4000))),
    ];
    each(cases, |cookie| {
        // In turn: a tie to `a` would show.
        let answers = [(); 2].map(|()| stage.ask(&with_cookie(cookie)));
        let mut texts = answers.each_ref().map(Message::text);
        texts.sort_unstable();
        assert_eq!(texts, ["a", "b"]);
        assert!(answers.iter().all(|answer| cookie_of(answer).is_some()), "{answers:?}");
        Ok(())
    });
}

#[test]
fn proxies_with_the_same_keys_agree_and_keys_rotate() {
    let (_old_folder, old) = keys_in(OLD);
    let (_both_folder, both) = keys_in(&format!("# the newest first\n{NEW}\n{OLD}\n"));
    let (_new_folder, new) = keys_in(NEW);
    let players = vec![Player::new("a"), Player::new("b")];
    let addresses: Vec<_> = players.iter().map(|p| p.backend.address().to_owned()).collect();
    let first = Stage::with(players, tied(Some(&old)));
    let other = |file: &Path| {
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        evenkeel_testkit::proxy::Proxy::start(
            &tied(Some(file))(PlanBuilder::to(&addresses)).build(),
        )
    };
    let answer = first.ask(&get("/"));
    let cookie = cookie_of(&answer).expect("a cookie");
    let accepts = |file: &Path, cookie: &str| {
        let response = other(file).connect().ask(with_cookie(cookie));
        let set = cookie_of(&response);
        assert!(set.is_some() || response.text() == answer.text());
        set.is_none()
    };
    assert!(accepts(&old, &cookie), "the same file");
    assert!(accepts(&both, &cookie), "the second line still verifies");
    assert!(!accepts(&new, &cookie), "dropped keys do not");
    let fresh = cookie_of(&other(&both).connect().ask(get("/"))).expect("a cookie");
    let by_new = other(&new).connect().ask(with_cookie(&fresh));
    assert_eq!(cookie_of(&by_new), None, "the first line signs");
}

#[test]
fn who_takes_nothing_new_keeps_its_sessions() {
    type Change = fn(&mut evenkeel_core::plan::BackendPlan);
    let cases: [(&str, (Change, bool)); 3] = [
        ("draining", (|backend| backend.admin = AdminState::Draining, true)),
        ("weight 0", (|backend| backend.weight = 0, true)),
        ("disabled", (|backend| backend.admin = AdminState::Disabled, false)),
    ];
    each(cases, |(change, keeps)| {
        let (_folder, file) = keys_in(NEW);
        let stage =
            Stage::of(2, |plan| tied(Some(&file))(plan).pool(|pool| change(&mut pool.backends[0])));
        let cookie = forge(NEW, "web", (stage.players[0].backend.address(), in_an_hour()));
        for _ in 0..3 {
            let response = stage.ask(&with_cookie(&cookie));
            assert_eq!(response.text(), if *keeps { "a" } else { "b" });
            assert_eq!(cookie_of(&response).is_none(), *keeps, "a session that moves is told");
        }
        assert_eq!(stage.who(4), ["b"; 4], "newcomers");
        Ok(())
    });
}

#[test]
fn a_dead_backend_gives_its_sessions_up_at_once() {
    let mut stage = Stage::of(3, tied(None));
    let first = stage.ask(&get("/"));
    let cookie = cookie_of(&first).expect("a cookie");
    let dead = ["a", "b", "c"].iter().position(|name| *name == first.text()).expect("a player");
    drop(stage.players.remove(dead));
    let moved = stage.ask(&with_cookie(&cookie));
    assert_eq!(moved.status(), 200);
    assert_ne!(moved.text(), first.text());
    let cookie = cookie_of(&moved).expect("a new tie");
    for _ in 0..5 {
        let next = stage.ask(&with_cookie(&cookie));
        assert_eq!((next.text(), cookie_of(&next)), (moved.text(), None));
    }
}

#[test]
fn by_address_clients_behind_a_trusted_proxy_are_spread() {
    for trusted in [true, false] {
        let stage = Stage::of(3, |plan| {
            let plan = plan.pool(|pool| pool.affinity = AffinityPlan::ClientIp);
            let networks = trusted.then(|| "127.0.0.0/8".parse().expect("a network"));
            plan.listener(|listener| listener.trusted_proxies = networks.into_iter().collect())
        });
        let ask = |ip: usize| {
            let response = stage.ask(&get_with("/", &format!("X-Forwarded-For: 10.1.0.{ip}\r\n")));
            assert_eq!(cookie_of(&response), None);
            response.text()
        };
        let homes: Vec<_> = (0..30).map(ask).collect();
        assert_eq!((0..30).map(ask).collect::<Vec<_>>(), homes);
        let used = stage.counts().iter().filter(|count| **count > 0).count();
        assert_eq!(used, if trusted { 3 } else { 1 }, "{homes:?}");
    }
}

#[test]
fn an_address_also_decides_between_the_pools_of_a_split() {
    let stage = Stage::of(2, |plan| {
        let plan = plan.listener(|listener| {
            listener.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        });
        plan.plan(|plan| {
            let mut other = plan.pools[0].clone();
            other.name = "other".into();
            // One backend for each pool.
            other.backends.remove(0);
            plan.pools[0].backends.truncate(1);
            other.affinity = AffinityPlan::ClientIp;
            plan.pools.push(other);
            plan.routes[0].split = vec![(0, 1), (1, 1)];
        })
    });
    let ask =
        |ip: usize| stage.ask(&get_with("/", &format!("X-Forwarded-For: 10.1.0.{ip}\r\n"))).text();
    let homes: Vec<_> = (0..40).map(ask).collect();
    for _ in 0..3 {
        assert_eq!((0..40).map(ask).collect::<Vec<_>>(), homes);
    }
    let in_first = homes.iter().filter(|home| *home == "a").count();
    assert!((8..=32).contains(&in_first), "by weight: {homes:?}");
}
