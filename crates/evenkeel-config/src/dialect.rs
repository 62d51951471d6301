//! Configuration files of other products, as they are: each dialect is a translation of the tree
//! as it was written into the tree of the native form. Values keep their places, so that what is
//! wrong with them is told where, and under the key, that the user wrote.
//!
//! *Architecture invariant:* nothing behind this room knows a dialect.

mod apps;
mod build;
mod detect;
mod foreign;
mod gobalance;
mod load_balancer;
mod policy;
mod preset;
mod variables;
mod written;

pub(crate) use detect::is_directive;
pub(crate) use variables::{BIND, described, is_variable, on_port, over_ours};
pub(crate) use written::Written;

use crate::diagnostic::Problem;
use crate::tree::Node;
use std::fmt;

/// Whose form a configuration file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Ours, in YAML or TOML.
    #[default]
    Native,
    /// GoBalance: `listen_port`, `balancing_strategy`.
    Gobalance,
    /// Go Load Balancer: the native form with `preset: go-loadbalancer`.
    GoLoadbalancer,
    /// Load Balancer: `server`, `strategy`, `backends[].url`.
    LoadBalancer,
    /// A Go Load Balancer with `apps`.
    Apps,
}

/// Every name a dialect goes by; the first of each is the one shown.
const NAMES: &[(Dialect, &[&str])] = &[
    (Dialect::Native, &["native", "gobalancer"]),
    (Dialect::Gobalance, &["gobalance"]),
    (Dialect::GoLoadbalancer, &["go-loadbalancer"]),
    (Dialect::LoadBalancer, &["load-balancer"]),
    (Dialect::Apps, &["apps"]),
];

impl Dialect {
    /// The dialect of a name such as `gobalance`.
    pub fn parse(name: &str) -> Option<Dialect> {
        let name = name.to_ascii_lowercase().replace('_', "-");
        NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(it, _)| *it)
    }

    /// The name shown for it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(it, _)| *it == self).map_or("", |(_, names)| names[0])
    }

    /// Every accepted name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().flat_map(|(_, names)| names.iter().copied())
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a text was taken for, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// The dialect.
    pub dialect: Dialect,
    /// Such as "`listen_port` on line 2".
    pub reason: String,
}

/// What a translation has to say besides its tree.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// How odd keys are read; told by `check`.
    pub(crate) warnings: Vec<Problem>,
    /// What cannot be translated.
    pub(crate) errors: Vec<Problem>,
}

/// A tree in the native form.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) tree: Node,
    pub(crate) detected: Detected,
    /// The tree as it was written, if that was another form.
    pub(crate) written: Option<Written>,
    pub(crate) notes: Notes,
}

/// Makes the native form of a tree. `first_line` may name the dialect, `named` decides over it;
/// `environment` holds variables that some dialects have under names of their own.
pub(crate) fn translate(
    mut tree: Node,
    first_line: &str,
    named: Option<Dialect>,
    environment: &[(String, String)],
) -> Translated {
    let mut notes = Notes::default();
    let detected = detect::detect(&tree, first_line, named, &mut notes.errors);
    let dialect = detected.dialect;
    if dialect == Dialect::Native || !notes.errors.is_empty() {
        return Translated { tree, detected, written: None, notes };
    }
    if dialect == Dialect::LoadBalancer {
        variables::over_load_balancer(&mut tree, environment, &mut notes);
    }
    let mut native = match dialect {
        Dialect::Native => tree.clone(),
        Dialect::Gobalance => gobalance::translate(&tree, &mut notes),
        Dialect::GoLoadbalancer => preset::expand(&tree, &mut notes),
        Dialect::LoadBalancer => load_balancer::translate(&tree, &mut notes),
        Dialect::Apps => apps::translate(&tree, &mut notes),
    };
    variables::over_native(&mut native, environment, &mut notes);
    Translated { tree: native, detected, written: Some(Written::new(&tree)), notes }
}
