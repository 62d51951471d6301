//! What keys do.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]

use super::screen::{Change, Over, Screen, View, Wish};
use evenkeel_api::{AdminState, BackendPatch};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Rows of a page, whatever the height of the screen.
const PAGE: isize = 10;
/// Letters of a filter.
const MAX_FILTER: usize = 60;
/// Digits of a weight.
const MAX_DIGITS: usize = 5;

/// Every key, for the help.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("1-5, Tab, ← →", "views"),
    ("↑ ↓, j k, PgUp PgDn, Home End", "rows"),
    ("/", "filter; Enter keeps it, Esc clears it"),
    ("s, r", "sort by the next column; turn it round"),
    ("Enter", "details; of a pool: its backends"),
    ("d, e, x", "drain, enable, disable; asks first"),
    ("w", "weight of the backend"),
    ("p", "pause: keep what is shown"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
];

/// Changes the screen; what is wanted beyond it.
pub(super) fn press(screen: &mut Screen, key: KeyEvent) -> Option<Wish> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Wish::Quit);
    }
    if screen.is_filtering {
        type_filter(screen, key.code);
        return None;
    }
    match screen.over.take() {
        None => in_view(screen, key.code),
        Some(over) => in_front(screen, over, key.code),
    }
}

fn type_filter(screen: &mut Screen, key: KeyCode) {
    match key {
        KeyCode::Char(letter) if screen.filter.chars().count() < MAX_FILTER => {
            screen.filter.push(letter);
        }
        KeyCode::Backspace => {
            screen.filter.pop();
        }
        KeyCode::Enter => screen.is_filtering = false,
        KeyCode::Esc => {
            screen.filter.clear();
            screen.is_filtering = false;
        }
        _ => {}
    }
    screen.move_by(0);
}

/// Keys while something lies over the view; what was there is taken away already.
fn in_front(screen: &mut Screen, over: Over, key: KeyCode) -> Option<Wish> {
    match (over, key) {
        (Over::Confirm(change), KeyCode::Char('y' | 'Y')) => return Some(Wish::Change(change)),
        (Over::Confirm(_), KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc) => {
            screen.say("nothing was changed");
        }
        (over @ Over::Confirm(_), _) => screen.over = Some(over),
        (Over::Weight { pool, backend, typed }, key) => {
            return type_weight(screen, (pool, backend), typed, key);
        }
        (Over::Help | Over::Details, _) => {}
    }
    None
}

fn type_weight(
    screen: &mut Screen,
    (pool, backend): (String, String),
    mut typed: String,
    key: KeyCode,
) -> Option<Wish> {
    match key {
        KeyCode::Esc => {
            screen.say("nothing was changed");
            return None;
        }
        KeyCode::Enter => {
            let weight = typed.parse::<u16>().ok();
            if let Some(weight) = weight {
                let patch = BackendPatch { weight: Some(weight.into()), admin: None };
                return Some(Wish::Change(Change { pool, backend, patch }));
            }
            screen.say("a weight is a number from 0 to 65535");
        }
        KeyCode::Char(digit) if digit.is_ascii_digit() && typed.len() < MAX_DIGITS => {
            typed.push(digit);
        }
        KeyCode::Backspace => {
            typed.pop();
        }
        _ => {}
    }
    screen.over = Some(Over::Weight { pool, backend, typed });
    None
}

fn in_view(screen: &mut Screen, key: KeyCode) -> Option<Wish> {
    screen.note = None;
    match key {
        KeyCode::Char('q') => return Some(Wish::Quit),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => screen.over = Some(Over::Help),
        KeyCode::Char(digit @ '1'..='5') => {
            let place = usize::from(u8::try_from(digit).unwrap_or(b'1') - b'1');
            screen.view = View::ALL[place];
        }
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => turn(screen, 1),
        KeyCode::BackTab | KeyCode::Left => turn(screen, View::ALL.len() - 1),
        KeyCode::Down | KeyCode::Char('j') => screen.move_by(1),
        KeyCode::Up | KeyCode::Char('k') => screen.move_by(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => screen.move_by(PAGE),
        KeyCode::PageUp => screen.move_by(-PAGE),
        KeyCode::Home | KeyCode::Char('g') => screen.move_by(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => screen.move_by(isize::MAX),
        KeyCode::Char('/') => screen.is_filtering = true,
        KeyCode::Esc => screen.filter.clear(),
        KeyCode::Char('s') => screen.sort_next(),
        KeyCode::Char('r') => screen.sort_other_way(),
        KeyCode::Char('p') => screen.is_paused = !screen.is_paused,
        KeyCode::Char('d') => screen.ask(AdminState::Draining),
        KeyCode::Char('e') => screen.ask(AdminState::Enabled),
        KeyCode::Char('x') => screen.ask(AdminState::Disabled),
        KeyCode::Char('w') => ask_weight(screen),
        KeyCode::Enter => enter(screen),
        _ => {}
    }
    screen.move_by(0);
    None
}

fn turn(screen: &mut Screen, by: usize) {
    screen.view = View::ALL[(screen.view as usize + by) % View::ALL.len()];
}

fn ask_weight(screen: &mut Screen) {
    let chosen = screen.chosen().map(|(pool, backend)| Over::Weight {
        pool: pool.name.clone(),
        backend: backend.name.clone(),
        typed: backend.weight.to_string(),
    });
    match chosen {
        Some(over) => screen.over = Some(over),
        None => screen.say("choose a backend first: press 3"),
    }
}

fn enter(screen: &mut Screen) {
    match screen.view {
        View::Pools => {
            let name = screen.pools().get(screen.cursor()).map(|pool| pool.name.clone());
            if let Some(name) = name {
                screen.view = View::Backends;
                screen.filter = name;
            }
        }
        View::Backends if screen.chosen().is_some() => screen.over = Some(Over::Details),
        View::Requests if !screen.requests().is_empty() => screen.over = Some(Over::Details),
        View::Events if !screen.events().is_empty() => screen.over = Some(Over::Details),
        View::Overview | View::Backends | View::Requests | View::Events => {}
    }
}
