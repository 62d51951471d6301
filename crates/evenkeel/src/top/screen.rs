//! What is on the screen: which view, which row, what is asked, what was said.

use super::text;
use super::world::{Reading, World};
use evenkeel_api::{AdminState, Backend, BackendPatch, ClientError, Pool, RecordedRequest};
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// One page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Overview,
    Pools,
    Backends,
    Requests,
    Events,
}

impl View {
    pub(super) const ALL: [View; 5] =
        [View::Overview, View::Pools, View::Backends, View::Requests, View::Events];

    pub(super) fn name(self) -> &'static str {
        match self {
            View::Overview => "Overview",
            View::Pools => "Pools",
            View::Backends => "Backends",
            View::Requests => "Requests",
            View::Events => "Events",
        }
    }

    /// Counts of columns by which its rows can be sorted; 0 = they come in order.
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            View::Overview | View::Pools | View::Events => &[],
            View::Backends => BACKEND_COLUMNS,
            View::Requests => &["order", "took", "status"],
        }
    }
}

/// What backends can be sorted by.
const BACKEND_COLUMNS: &[&str] =
    &["order", "name", "traffic", "in flight", "rate", "requests", "errors", "p99"];

/// A change of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) pool: String,
    pub(super) backend: String,
    pub(super) patch: BackendPatch,
}

/// What a key asks for, beyond the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Change(Change),
}

/// What lies over the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Help,
    /// Of the chosen row.
    Details,
    /// `y` makes the change.
    Confirm(Change),
    /// A weight is being typed.
    Weight {
        pool: String,
        backend: String,
        typed: String,
    },
}

/// A sentence at the bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) world: World,
    pub(super) view: View,
    /// The chosen row of each view.
    cursors: [usize; View::ALL.len()],
    /// What each view is sorted by, and whether the other way round.
    sorts: [(usize, bool); View::ALL.len()],
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) is_filtering: bool,
    pub(super) over: Option<Over>,
    pub(super) note: Option<Note>,
    /// Why nothing new can be read.
    pub(super) trouble: Option<String>,
    pub(super) is_paused: bool,
    pub(super) in_colour: bool,
    pub(super) interval: Duration,
    read_at: Option<Instant>,
}

impl Screen {
    pub(super) fn new(in_colour: bool, interval: Duration) -> Screen {
        Screen {
            world: World::default(),
            view: View::default(),
            cursors: [0; View::ALL.len()],
            sorts: [(0, false); View::ALL.len()],
            filter: String::new(),
            is_filtering: false,
            over: None,
            note: None,
            trouble: None,
            is_paused: false,
            in_colour,
            interval,
            read_at: None,
        }
    }

    /// Takes what was read, unless the reader wants to look at what is there.
    pub(super) fn read(&mut self, reading: Result<Reading, ClientError>) {
        match reading {
            Ok(reading) if !self.is_paused => {
                let passed = self.read_at.replace(Instant::now()).map(|at| at.elapsed());
                self.world.read(reading, passed);
                self.trouble = None;
            }
            Ok(_) => self.trouble = None,
            Err(error) => self.trouble = Some(error.to_string()),
        }
        self.move_by(0);
    }

    /// Says how a change ended.
    pub(super) fn done(&mut self, result: Result<String, ClientError>) {
        let is_bad = result.is_err();
        let text = match result {
            Ok(text) => text,
            Err(ClientError::Refused(problem)) if problem.status == 403 => {
                "this token may look, but not change anything".to_owned()
            }
            Err(ClientError::Refused(problem)) if problem.status == 412 => {
                "somebody else has changed this pool meanwhile; look, then try again".to_owned()
            }
            Err(error) => error.to_string(),
        };
        self.note = Some(Note { text, is_bad });
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursors[self.view as usize]
    }

    pub(super) fn sort(&self) -> (usize, bool) {
        self.sorts[self.view as usize]
    }

    /// Moves the cursor; it stays on a row.
    pub(super) fn move_by(&mut self, rows: isize) {
        let last = self.row_count().saturating_sub(1);
        let cursor = &mut self.cursors[self.view as usize];
        *cursor = cursor.saturating_add_signed(rows).min(last);
    }

    /// Sorts by the next column.
    pub(super) fn sort_next(&mut self) {
        let columns = self.view.columns().len();
        let (column, descending) = &mut self.sorts[self.view as usize];
        *column = (*column + 1).checked_rem(columns).unwrap_or(0);
        // Names begin with A, numbers with the largest.
        *descending = *column > 2 || (self.view == View::Requests && *column > 0);
        self.cursors[self.view as usize] = 0;
    }

    /// Turns the order round.
    pub(super) fn sort_other_way(&mut self) {
        let (_, descending) = &mut self.sorts[self.view as usize];
        *descending = !*descending;
    }

    fn row_count(&self) -> usize {
        match self.view {
            View::Overview => 0,
            View::Pools => self.pools().len(),
            View::Backends => self.backends().len(),
            View::Requests => self.requests().len(),
            View::Events => self.events().len(),
        }
    }

    fn keeps(&self, texts: &[&str]) -> bool {
        let all = texts.join(" ").to_lowercase();
        self.filter.to_lowercase().split_whitespace().all(|word| all.contains(word))
    }

    pub(super) fn pools(&self) -> Vec<&Pool> {
        let kept =
            |pool: &&Pool| self.keeps(&[&pool.name, &pool.strategy, text::mode(pool.mode).1]);
        self.world.pools.iter().filter(kept).collect()
    }

    /// Filtered and sorted.
    pub(super) fn backends(&self) -> Vec<(&Pool, &Backend)> {
        let kept = |(pool, backend): &(&Pool, &Backend)| {
            let (_, traffic) = text::traffic(backend);
            let axes = [text::admin(backend.admin), text::health(backend.health)];
            self.keeps(&[&pool.name, &backend.name, &backend.address, &traffic, axes[0], axes[1]])
        };
        let mut rows: Vec<_> = self.world.backends().filter(kept).collect();
        let (column, descending) = self.sorts[View::Backends as usize];
        if column > 0 {
            rows.sort_by(|one, other| self.compare(column, *one, *other));
        }
        if descending {
            rows.reverse();
        }
        rows
    }

    fn compare(&self, column: usize, one: (&Pool, &Backend), other: (&Pool, &Backend)) -> Ordering {
        let by = |key: &dyn Fn((&Pool, &Backend)) -> f64| key(one).total_cmp(&key(other));
        let rate = |(pool, backend): (&Pool, &Backend)| {
            self.world.rate_of(&pool.name, &backend.name).unwrap_or(0.0)
        };
        match BACKEND_COLUMNS[column] {
            "name" => one.1.name.cmp(&other.1.name),
            "traffic" => {
                let key = |it: (&Pool, &Backend)| (it.1.eligible, it.1.reason.clone());
                key(one).cmp(&key(other))
            }
            "in flight" => one.1.in_flight.cmp(&other.1.in_flight),
            "rate" => by(&rate),
            "requests" => one.1.requests.cmp(&other.1.requests),
            "errors" => by(&|(_, backend)| backend.error_rate),
            _ => by(&|(_, backend)| backend.p99_ms.unwrap_or(0.0)),
        }
    }

    /// Filtered and sorted.
    pub(super) fn requests(&self) -> Vec<&RecordedRequest> {
        let kept = |it: &&RecordedRequest| {
            let names = [&it.route, &it.pool, &it.backend, &it.failure];
            let names = names.map(|name| name.as_deref().unwrap_or_default());
            let status = it.status.to_string();
            self.keeps(&[&[it.method.as_str(), &it.host, &it.path, &status], &names[..]].concat())
        };
        let mut rows: Vec<_> = self.world.requests.iter().filter(kept).collect();
        let (column, descending) = self.sorts[View::Requests as usize];
        match column {
            1 => rows.sort_by(|one, other| one.total_ms.total_cmp(&other.total_ms)),
            2 => rows.sort_by_key(|it| it.status),
            _ => {}
        }
        if descending {
            rows.reverse();
        }
        rows
    }

    pub(super) fn events(&self) -> Vec<&evenkeel_api::Event> {
        let kept = |it: &&evenkeel_api::Event| self.keeps(&[&it.event, &it.message]);
        self.world.events.iter().filter(kept).collect()
    }

    /// The backend that keys act on.
    pub(super) fn chosen(&self) -> Option<(&Pool, &Backend)> {
        (self.view == View::Backends).then(|| self.backends().get(self.cursor()).copied())?
    }

    /// Asks whether the chosen backend should get this admin state.
    pub(super) fn ask(&mut self, admin: AdminState) {
        let chosen = self.chosen().map(|(pool, backend)| Change {
            pool: pool.name.clone(),
            backend: backend.name.clone(),
            patch: BackendPatch { admin: Some(admin), weight: None },
        });
        match chosen {
            Some(change) => self.over = Some(Over::Confirm(change)),
            None => self.say("choose a backend first: press 3"),
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        self.note = Some(Note { text: text.to_owned(), is_bad: false });
    }
}
