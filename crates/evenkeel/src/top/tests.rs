//! The screen, key by key, against screens that were looked at.

use super::draw;
use super::keys::press;
use super::screen::{Change, Over, Screen, View, Wish};
use super::world::Reading;
use evenkeel_api::{AdminState, BackendPatch, ClientError, Problem};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Set to write the screens anew.
const BLESS: &str = "EVENKEEL_BLESS";

fn backend(name: &str, requests: u64) -> Value {
    json!({
        "name": name, "address": format!("{name}.test:80"), "url": format!("http://{name}.test:80"),
        "weight": 1, "admin": "enabled", "health": "healthy", "results": [],
        "breaker": "closed", "suspected": null, "eligible": true, "reason": null,
        "in_flight": requests / 100, "p50_ms": 1.25, "p99_ms": 88.0, "requests": requests,
        "error_rate": 0.0, "source": "config",
    })
}

fn pools(more: u64) -> Value {
    let mut b2 = backend("b2", 300);
    b2["health"] = json!("unhealthy");
    b2["health_reason"] = json!("connection refused");
    b2["health_since"] = json!("2030-01-01T10:00:00Z");
    b2["eligible"] = json!(false);
    b2["reason"] = json!("unhealthy");
    b2["results"] = json!([
        { "time": "", "took_ms": 1.0, "fault": null },
        { "time": "", "took_ms": 1.0, "fault": "connection refused" },
    ]);
    let mut b3 = backend("b3", 100);
    b3["admin"] = json!("draining");
    b3["eligible"] = json!(false);
    b3["reason"] = json!("draining");
    let budget = json!({ "ratio": 0.2, "floor": 10, "refused": 7 });
    json!([
        { "name": "web", "strategy": "round_robin", "mode": "normal", "waiting": 0,
          "retry_budget": budget, "backends": [backend("b1", 1_000 + more), b2, b3] },
        { "name": "api", "strategy": "leastconn", "mode": "failing_open", "waiting": 12,
          "retry_budget": budget, "backends": [backend("a1", 50_000)] },
    ])
}

fn go(outcome: &str, start_ms: f64) -> Value {
    json!({ "backend": "b2", "outcome": outcome, "start_ms": start_ms, "connect_ms": 500.0 })
}

fn reading(more: u64) -> Reading {
    let steps: Vec<Value> = (0..60)
        .map(|step| {
            json!({ "requests": 100 + 7 * (step % 10), "errors": step / 50,
                            "p50_ms": 1.0, "p95_ms": 5.0 + f64::from(step % 4), "p99_ms": 40.0 })
        })
        .collect();
    let failed = json!({
        "id": "r1", "time": "2030-01-01T10:11:12Z", "kept": "failed", "listener": "main",
        "client_ip": "203.0.113.9", "method": "GET", "host": "a.test", "path": "/orders/1",
        "status": 502, "failure": "connect_failure", "hint": "Is the backend running?",
        "route": "all", "pool": "web", "backend": "b2", "total_ms": 1_040.0, "bytes_in": 10,
        "bytes_out": 100, "timings": { "queue_ms": 20.0 },
        "tries": [go("reset", 20.0), go("connect_failure", 540.0)],
    });
    let mut slow = failed.clone();
    for (key, value) in [
        ("kept", json!("slow")),
        ("status", json!(200)),
        ("path", json!("/slow")),
        ("id", json!("r2")),
    ] {
        slow[key] = value;
    }
    slow.as_object_mut().unwrap().remove("failure");
    slow["total_ms"] = json!(2_500.0);
    let read = |value: Value| serde_json::from_value(value).unwrap();
    Reading {
        status: serde_json::from_value(json!({
            "version": "1.2.3", "uptime_seconds": 93_784, "state": "ready", "generation": 3,
            "workers": 2, "listeners": [], "client_connections": 231, "pools": [],
        }))
        .unwrap(),
        pools: serde_json::from_value(pools(more)).unwrap(),
        requests: vec![read(failed), read(slow)],
        history: serde_json::from_value(json!({
            "step_seconds": 5, "end": "2030-01-01T10:00:00Z", "steps": steps,
            "requests": 1_234_567 + more, "errors": 42,
        }))
        .unwrap(),
    }
}

fn screen() -> Screen {
    let mut screen = Screen::new(true, Duration::from_secs(1));
    screen.world.read(reading(0), None);
    screen.world.read(reading(500), Some(Duration::from_secs(2)));
    for (level, event, second) in
        [("info", "started", 1), ("warn", "backend_unhealthy", 2), ("error", "breaker_opened", 3)]
    {
        let event = json!({
            "timestamp": format!("2030-01-01T10:00:0{second}Z"), "level": level, "event": event,
            "message": "in one sentence", "backend": "b2", "count": second,
        });
        screen.world.happened(serde_json::from_value(event).unwrap());
    }
    screen
}

fn shown(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}

fn keys(screen: &mut Screen, keys: &str) -> Option<Wish> {
    let mut wish = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '\u{8}' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        wish = press(screen, KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

/// What the keys lead to, on a screen of this size, is what the file of this name shows.
fn check(name: &str, typed: &str, (width, height): (u16, u16)) {
    let mut screen = screen();
    keys(&mut screen, typed);
    let shown = shown(&screen, width, height);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/top/golden/{name}.txt"));
    if std::env::var_os(BLESS).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == shown, "{name}: {BLESS}=1 accepts\n{shown}\ninstead of\n{golden}");
}

const SMALL: (u16, u16) = (80, 24);

#[test]
fn views_are_as_they_were() {
    check("overview", "", SMALL);
    check("overview-wide", "", (140, 30));
    check("pools", "2", SMALL);
    check("backends", "3", SMALL);
    check("backends-wide", "3", (150, 12));
    check("backends-narrow", "3", (40, 12));
    check("requests-narrow", "4", (40, 12));
    check("requests", "4", SMALL);
    check("events", "5", SMALL);
}

#[test]
fn what_lies_over_a_view_is_as_it_was() {
    check("help", "?", SMALL);
    check("backend", "3j\n", SMALL);
    check("request", "4\n", SMALL);
    check("event", "5\n", SMALL);
    check("drain", "3d", SMALL);
    check("drain-last", "3Gd", SMALL);
    check("weight", "3w", SMALL);
    check("filter", "3/unhealthy", SMALL);
    check("filter-nothing", "3/nobody\n", SMALL);
}

#[test]
fn what_a_row_is_about_is_seen_at_forty_columns() {
    for (typed, wanted) in [("2", "web"), ("3", "web/b2"), ("4", "GET a.test"), ("5", "in one")] {
        let mut screen = screen();
        keys(&mut screen, typed);
        let shown = shown(&screen, 40, 12);
        assert!(shown.contains(wanted), "{typed}: {shown}");
    }
}

#[test]
fn a_backend_that_gets_nothing_has_no_share_of_errors() {
    let with = |breaker: &str, rate: f64| {
        let mut backend = backend("b1", 4);
        backend["breaker"] = json!(breaker);
        backend["error_rate"] = json!(rate);
        super::text::errors(&serde_json::from_value(backend).unwrap())
    };
    assert_eq!(with("open", 0.0), None);
    assert_eq!(with("open", 1.0).as_deref(), Some("100.0%"));
    assert_eq!(with("closed", 0.0).as_deref(), Some("0%"));
}

#[test]
fn any_size_can_be_drawn() {
    for typed in ["", "2", "3", "3\n", "4\n", "5\n", "3d", "3w", "?"] {
        let mut screen = screen();
        keys(&mut screen, typed);
        for width in [1, 7, 20, 41, 80, 300] {
            for height in [1, 2, 3, 5, 9, 24, 100] {
                shown(&screen, width, height);
            }
        }
    }
    shown(&Screen::new(false, Duration::from_secs(1)), 80, 24);
}

#[test]
fn without_colour_nothing_is_lost() {
    let mut screen = screen();
    keys(&mut screen, "3");
    let coloured = shown(&screen, 80, 24);
    screen.in_colour = false;
    assert_eq!(shown(&screen, 80, 24), coloured);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw::draw(frame, &screen)).unwrap();
    let plain = ratatui::style::Color::Reset;
    assert!(terminal.backend().buffer().content().iter().all(|cell| cell.fg == plain));
}

#[test]
fn a_change_is_made_only_after_yes() {
    let change = |name: &str, admin| {
        let patch = BackendPatch { admin: Some(admin), weight: None };
        Some(Wish::Change(Change { pool: "web".to_owned(), backend: name.to_owned(), patch }))
    };
    let cases = [
        ("3dy", change("b1", AdminState::Draining)),
        ("3dn", None),
        ("3d\u{1b}", None),
        ("3dzy", change("b1", AdminState::Draining)),
        ("3jxy", change("b2", AdminState::Disabled)),
        ("3jjey", change("b3", AdminState::Enabled)),
        ("2dy", None),
        ("dy", None),
    ];
    for (typed, wanted) in cases {
        assert_eq!(keys(&mut screen(), typed), wanted, "{typed:?}");
    }
}

#[test]
fn a_weight_is_typed() {
    let weight = |typed: &str| match keys(&mut screen(), typed) {
        Some(Wish::Change(change)) => change.patch.weight,
        _ => None,
    };
    assert_eq!(weight("3w\u{8}42\n"), Some(42));
    assert_eq!(weight("3w\u{8}0\n"), Some(0));
    assert_eq!(weight("3w\n"), Some(1));
    assert_eq!(weight("3w\u{8}99999\n"), None, "larger than any weight");
    assert_eq!(weight("3w5\u{1b}"), None);
    let mut refused = screen();
    keys(&mut refused, "3w\u{8}\n");
    assert!(matches!(refused.over, Some(Over::Weight { .. })), "it is asked for again");
}

#[test]
fn rows_are_filtered_sorted_and_chosen() {
    let names = |typed: &str| {
        let mut screen = screen();
        keys(&mut screen, typed);
        let names: Vec<_> = screen.backends().iter().map(|(_, it)| it.name.clone()).collect();
        (names.join(" "), screen.cursor())
    };
    assert_eq!(names("3"), ("b1 b2 b3 a1".to_owned(), 0));
    assert_eq!(names("3s"), ("a1 b1 b2 b3".to_owned(), 0));
    assert_eq!(names("3sr"), ("b3 b2 b1 a1".to_owned(), 0));
    assert_eq!(names("3sssss"), ("a1 b1 b2 b3".to_owned(), 0), "by requests");
    assert_eq!(names("3jjj"), ("b1 b2 b3 a1".to_owned(), 3));
    assert_eq!(names("3jjjjjj"), ("b1 b2 b3 a1".to_owned(), 3), "it stays on a row");
    assert_eq!(names("3jjj/web b\n"), ("b1 b2 b3".to_owned(), 2));
    assert_eq!(names("3/b1\u{1b}"), ("b1 b2 b3 a1".to_owned(), 0));
    assert_eq!(names("2j\n"), ("a1".to_owned(), 0), "the backends of a pool");
    let mut turned = screen();
    keys(&mut turned, "\t\t");
    assert_eq!(turned.view, View::Backends);
    keys(&mut turned, "\t\t\t");
    assert_eq!(turned.view, View::Overview);
}

#[test]
fn keys_that_end_it() {
    assert_eq!(keys(&mut screen(), "q"), Some(Wish::Quit));
    assert_eq!(keys(&mut screen(), "3/q"), None, "a letter of the filter");
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let mut asked = screen();
    keys(&mut asked, "3d");
    assert_eq!(press(&mut asked, control), Some(Wish::Quit));
}

#[test]
fn what_the_server_says_is_shown() {
    let mut screen = screen();
    screen.done(Ok("web/b1 is draining".to_owned()));
    assert!(shown(&screen, 80, 24).ends_with("✔ web/b1 is draining\n"));
    let refused = |status| ClientError::Refused(Problem { status, ..Problem::default() });
    screen.done(Err(refused(403)));
    assert!(shown(&screen, 80, 24).contains("✖ this token may look"));
    screen.done(Err(refused(412)));
    assert!(shown(&screen, 80, 24).contains("✖ somebody else"));
    screen.read(Err(refused(401)));
    assert!(shown(&screen, 80, 24).contains("✖ refused: 401"));
    screen.is_paused = true;
    screen.read(Ok(reading(999_999)));
    assert_eq!(screen.world.history.requests, 1_235_067, "paused: nothing new is taken");
    assert!(shown(&screen, 80, 24).contains("▲ paused"));
    screen.is_paused = false;
    screen.read(Ok(reading(600)));
    assert_eq!(screen.world.history.requests, 1_235_167);
    assert_eq!(screen.trouble, None);
}

#[test]
fn control_characters_of_clients_do_not_reach_the_terminal() {
    let mut screen = screen();
    screen.world.requests[0].path = "/\u{1b}[31m\u{7}\u{9b}x\r\n".to_owned();
    screen.world.requests[0].failure = Some("\u{1b}]0;title\u{7}".to_owned());
    for typed in ["4", "\n"] {
        keys(&mut screen, typed);
        let shown = shown(&screen, 80, 24);
        assert!(shown.contains("[31mx"), "the rest is shown: {shown}");
        assert!(!shown.replace('\n', "").contains(char::is_control), "{shown:?}");
    }
}
