//! Changes that are laid over what a file says, by name and not by place: what an operator asked
//! for through the API stays when the file is read again. What an edit speaks of may have gone from
//! the file meanwhile; then it is a conflict, which is told and changes nothing.

mod found;
mod json;
mod places;

pub(crate) use found::lay_found;

use crate::forms::write_out_backend;
use crate::tree::{Entry, Node, Place, Value, steps};
use evenkeel_core::address::BackendAddress;
use evenkeel_core::plan::AdminState;
use places::Places;
use std::fmt;
use std::time::Duration;

/// Where the values of edits come from, for messages.
const ORIGIN: &str = "edit";
/// The route that the only pool gets without `routes`.
const DEFAULT_ROUTE: &str = "default";

/// A change of what a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Another balancing algorithm, by any of its names.
    Strategy {
        /// Of this pool.
        pool: String,
        /// As the user spelt it.
        strategy: String,
    },
    /// Another share of new traffic.
    Weight {
        /// In this pool.
        pool: String,
        /// Its name.
        backend: String,
        /// 0 = none.
        weight: u32,
    },
    /// Another wish for a backend.
    Admin {
        /// In this pool.
        pool: String,
        /// Its name.
        backend: String,
        /// The wish.
        admin: AdminState,
    },
    /// One more backend, at the end.
    AddBackend {
        /// In this pool.
        pool: String,
        /// What it is.
        backend: NewBackend,
    },
    /// One backend less.
    RemoveBackend {
        /// In this pool.
        pool: String,
        /// Its name.
        backend: String,
        /// It may finish what runs for so long.
        drain: Duration,
    },
    /// Several pools by share.
    Split {
        /// Of this route.
        route: String,
        /// Pools with their weights.
        arms: Vec<(String, u32)>,
    },
    /// One pool.
    RoutePool {
        /// Of this route.
        route: String,
        /// Its name.
        pool: String,
    },
}

/// A backend as somebody adds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBackend {
    /// Unique in its pool; `host:port` if left out.
    pub name: Option<String>,
    /// Where it is.
    pub address: String,
    /// Share of new traffic; 1 if left out.
    pub weight: Option<u32>,
    /// The wish; `enabled` if left out.
    pub admin: Option<AdminState>,
}

impl NewBackend {
    /// Its name, given or not.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| default_name(&self.address))
    }
}

/// An edit that cannot be laid over the file any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The edit, in words.
    pub edit: String,
    /// Why.
    pub message: String,
    /// What kind of why.
    pub kind: ConflictKind,
}

/// Why an edit cannot be laid over the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// What it speaks of is not there.
    Missing,
    /// What it adds is there already, elsewhere.
    Present,
    /// What it adds is there already, as it says: the file has it now, too.
    Agreed,
}

impl ConflictKind {
    /// True if the edit does not hold.
    pub fn is_trouble(self) -> bool {
        match self {
            ConflictKind::Missing | ConflictKind::Present => true,
            ConflictKind::Agreed => false,
        }
    }
}

/// Why one edit was not laid over the file.
struct Refusal(ConflictKind, String);

impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        Refusal(ConflictKind::Missing, message)
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.edit, self.message)
    }
}

fn admin_word(admin: AdminState) -> &'static str {
    match admin {
        AdminState::Enabled => "enabled",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}

fn default_name(address: &str) -> String {
    BackendAddress::parse(address).map_or_else(|_| address.to_owned(), |it| it.default_name())
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edit::Strategy { pool, strategy } => write!(f, "strategy of {pool} is {strategy}"),
            Edit::Weight { pool, backend, weight } => {
                write!(f, "weight of {pool}/{backend} is {weight}")
            }
            Edit::Admin { pool, backend, admin } => {
                write!(f, "{pool}/{backend} is {}", admin_word(*admin))
            }
            Edit::AddBackend { pool, backend } => write!(f, "{pool}/{} is added", backend.name()),
            Edit::RemoveBackend { pool, backend, .. } => {
                write!(f, "{pool}/{backend} is removed")
            }
            Edit::Split { route, arms } => {
                let arms: Vec<_> = arms.iter().map(|(pool, n)| format!("{pool} {n}")).collect();
                write!(f, "route {route} goes to {}", arms.join(", "))
            }
            Edit::RoutePool { route, pool } => write!(f, "route {route} goes to {pool}"),
        }
    }
}

impl Edit {
    /// True if this one says all that the other said: then the other need not be kept. One that
    /// adds or removes a backend always is.
    pub fn replaces(&self, other: &Edit) -> bool {
        match (self, other) {
            (Edit::Strategy { pool, .. }, Edit::Strategy { pool: before, .. }) => pool == before,
            (
                Edit::Weight { pool, backend, .. },
                Edit::Weight { pool: in_pool, backend: before, .. },
            )
            | (
                Edit::Admin { pool, backend, .. },
                Edit::Admin { pool: in_pool, backend: before, .. },
            ) => (pool, backend) == (in_pool, before),
            (
                Edit::Split { route, .. } | Edit::RoutePool { route, .. },
                Edit::Split { route: before, .. } | Edit::RoutePool { route: before, .. },
            ) => route == before,
            (_, _) => false,
        }
    }
}

/// Lays edits over the tree of the full form, in their order.
pub(crate) fn apply(tree: &mut Node, edits: &[Edit]) -> Vec<Conflict> {
    let (mut conflicts, mut places) = (Vec::new(), Places::default());
    for edit in edits {
        if let Err(Refusal(kind, message)) = apply_one(tree, edit, &mut places) {
            conflicts.push(Conflict { edit: edit.to_string(), message, kind });
        }
    }
    conflicts
}

fn apply_one(tree: &mut Node, edit: &Edit, places: &mut Places) -> Result<(), Refusal> {
    match edit {
        Edit::Strategy { pool, strategy } => {
            let pool = pool_of(tree, pool)?;
            pool.set(&steps("strategy"), text(strategy))?;
        }
        Edit::Weight { pool, backend, weight } => {
            let backend = backend_of(tree, (pool, backend), places)?;
            write_out_backend(backend);
            backend.set(&steps("weight"), number(*weight))?;
        }
        Edit::Admin { pool, backend, admin } => {
            let backend = backend_of(tree, (pool, backend), places)?;
            write_out_backend(backend);
            backend.set(&steps("admin"), text(admin_word(*admin)))?;
        }
        Edit::AddBackend { pool, backend } => add(tree, (pool, backend), places)?,
        Edit::RemoveBackend { pool, backend, .. } => {
            let backends = items(pool_of(tree, pool)?, "backends")?;
            let at = places.of(pool, backends, backend)?;
            places.remove(pool, backends, at);
        }
        Edit::Split { route, arms } => {
            for (pool, _) in arms {
                pool_of(tree, pool)?;
            }
            let arm = |(pool, weight): &(String, u32)| {
                map(vec![("pool", text(pool)), ("weight", number(*weight))])
            };
            let arms = node(Value::Seq(arms.iter().map(arm).collect()));
            send_to(route_of(tree, route)?, ("split", arms))?;
        }
        Edit::RoutePool { route, pool } => {
            pool_of(tree, pool)?;
            send_to(route_of(tree, route)?, ("pool", text(pool)))?;
        }
    }
    Ok(())
}

fn node(value: Value) -> Node {
    Node::new(value, Place::of(ORIGIN))
}

fn text(text: &str) -> Node {
    node(Value::Str(text.to_owned()))
}

fn number(number: u32) -> Node {
    node(Value::Number(number.to_string()))
}

fn map(entries: Vec<(&str, Node)>) -> Node {
    let entry = |(key, value): (&str, Node)| Entry {
        key: key.to_owned(),
        key_place: Place::of(ORIGIN),
        value,
    };
    node(Value::Map(entries.into_iter().map(entry).collect()))
}

/// The list at a key; an empty one is made if there is none.
fn items<'a>(node: &'a mut Node, key: &str) -> Result<&'a mut Vec<Node>, String> {
    if node.at(key).is_none() {
        let place = node.place.clone();
        node.set(&steps(key), Node::new(Value::Seq(Vec::new()), place))?;
    }
    match node.value_mut(key) {
        Some(Value::Seq(items)) => Ok(items),
        Some(_) | None => Err(format!("`{key}` is no list")),
    }
}

fn said(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Str(text) | Value::Number(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Seq(_) | Value::Map(_) => None,
    }
}

fn name_of(node: &Node) -> Option<&str> {
    said(&node.entry("name")?.value)
}

fn pool_of<'a>(tree: &'a mut Node, name: &str) -> Result<&'a mut Node, String> {
    let mut pools = items(tree, "pools")?.iter_mut();
    pools.find(|pool| name_of(pool) == Some(name)).ok_or_else(|| format!("no pool {name:?}"))
}

fn route_of<'a>(tree: &'a mut Node, name: &str) -> Result<&'a mut Node, String> {
    let routes = items(tree, "routes")?;
    if routes.is_empty() && name == DEFAULT_ROUTE {
        routes.push(map(vec![("name", text(name))]));
    }
    let named = |(at, route): (usize, &Node)| match name_of(route) {
        Some(own) => own == name,
        None => name == format!("route-{at}"),
    };
    let at = routes.iter().enumerate().position(named);
    at.and_then(|at| routes.get_mut(at)).ok_or_else(|| format!("no route {name:?}"))
}

fn send_to(route: &mut Node, (key, value): (&str, Node)) -> Result<(), String> {
    if let Value::Map(entries) = &mut route.value {
        entries.retain(|entry| !matches!(entry.key.as_str(), "pool" | "split"));
    }
    route.set(&steps(key), value)
}

fn backend_of<'a>(
    tree: &'a mut Node,
    (pool, name): (&str, &str),
    places: &mut Places,
) -> Result<&'a mut Node, String> {
    let backends = items(pool_of(tree, pool)?, "backends")?;
    let at = places.of(pool, backends, name)?;
    Ok(&mut backends[at])
}

/// True of a backend at this address, however it is spelt.
fn is_at(backend: &Node, address: &str) -> bool {
    let own = backend.entry("address").map_or(backend, |entry| &entry.value);
    let place = |text: &str| {
        let parsed = BackendAddress::parse(text).ok()?;
        Some((parsed.scheme, parsed.endpoint, parsed.prefix))
    };
    said(own).and_then(place).is_some_and(|own| place(address) == Some(own))
}

fn add(
    tree: &mut Node,
    (pool, backend): (&str, &NewBackend),
    places: &mut Places,
) -> Result<(), Refusal> {
    let backends = items(pool_of(tree, pool)?, "backends")?;
    let name = backend.name();
    if let Ok(at) = places.of(pool, backends, &name) {
        let known = &mut backends[at];
        let message = format!("there is a backend {name:?} already");
        if !is_at(known, &backend.address) {
            return Err(Refusal(ConflictKind::Present, message));
        }
        write_out_backend(known);
        if let Some(weight) = backend.weight {
            known.set(&steps("weight"), number(weight))?;
        }
        if let Some(admin) = backend.admin {
            known.set(&steps("admin"), text(admin_word(admin)))?;
        }
        return Err(Refusal(ConflictKind::Agreed, message));
    }
    let mut entries = vec![("name", text(&name)), ("address", text(&backend.address))];
    entries.extend(backend.weight.map(|weight| ("weight", number(weight))));
    entries.extend(backend.admin.map(|admin| ("admin", text(admin_word(admin)))));
    let added = map(entries);
    places.push(pool, backends, (name, added));
    Ok(())
}
