//! What lies over the file: environment variables, then flags. Both become nodes of the tree
//! whose place is the variable or the flag.

use crate::diagnostic::{Diagnostics, Fault, Problem, SourceLines};
use crate::dialect::{self, Dialect, Notes, Written};
use crate::forms;
use crate::tree::{Node, Place, Step, Value, steps};
use crate::tree_yaml;
use std::collections::HashSet;

/// What lies over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Variables with their values; those of which `is_variable` does not hold are ignored.
    pub environment: Vec<(String, String)>,
    /// `--listen`: replaces the bind of the first listener.
    pub listen: Option<String>,
    /// `--port`: replaces the port of the first listener.
    pub port: Option<u16>,
    /// `--to`: replaces the backends of the only pool; without a file, makes one.
    pub to: Vec<String>,
    /// `--strategy`: replaces the strategy of every pool.
    pub strategy: Option<String>,
    /// `--dialect`: whose form the file has; `None` = seen from its keys.
    pub dialect: Option<Dialect>,
}

/// Start of the variables that are keys.
pub(crate) const PREFIX: &str = "EVENKEEL__";

/// The tree of everything that was said.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) tree: Node,
    /// The file was in the short form: its errors name the keys that the user wrote.
    short: bool,
    /// The file was of another product: so do these.
    written: Option<Written>,
}

impl Merged {
    pub(crate) fn diagnostics(
        &self,
        mut problems: Vec<Problem>,
        lines: &SourceLines,
    ) -> Diagnostics {
        for problem in problems.iter_mut().filter(|problem| problem.place.line > 0) {
            match &self.written {
                Some(written) => {
                    if let Some(path) = written.path_at(&problem.place) {
                        problem.path = path.to_owned();
                    }
                }
                None if self.short => problem.path = forms::written_path(&problem.path),
                None => {}
            }
        }
        if self.written.is_some() {
            without_second_uses(&mut problems);
        }
        lines.diagnostics(problems)
    }
}

/// A translation may use a value twice: what is wrong with it is told where the user wrote it.
fn without_second_uses(problems: &mut Vec<Problem>) {
    let (placed, rest): (Vec<_>, Vec<_>) =
        std::mem::take(problems).into_iter().partition(|problem| problem.place.line > 0);
    let told: HashSet<&str> = placed.iter().map(|it| it.fault.message.as_str()).collect();
    let is_new =
        |it: &Problem| it.place.origin.is_some() || !told.contains(it.fault.message.as_str());
    let rest: Vec<Problem> = rest.into_iter().filter(is_new).collect();
    problems.extend(placed);
    problems.extend(rest);
}

/// Lays `overrides` over the tree of the file; `written` if it was translated, and has the
/// variables of its dialect.
pub(crate) fn merge(
    (mut tree, written): (Node, Option<Written>),
    overrides: &Overrides,
    notes: &mut Notes,
    problems: &mut Vec<Problem>,
) -> Merged {
    if tree.value == Value::Null {
        tree.value = Value::Map(Vec::new());
    }
    let variables = variables(overrides, problems);
    let (before, after): (Vec<_>, Vec<_>) =
        variables.into_iter().partition(Variable::is_short_form);
    apply(&mut tree, before, problems);
    let full = forms::is_full(&tree);
    if !overrides.to.is_empty() && !full {
        apply(&mut tree, vec![Variable::backends("backends", &overrides.to)], problems);
    }
    let short = forms::expand(&mut tree, problems);
    if written.is_none() {
        dialect::over_ours(&mut tree, &overrides.environment, notes);
    }
    apply(&mut tree, after, problems);
    let pools = match tree.at("pools").map(|pools| &pools.value) {
        Some(Value::Seq(pools)) => pools.len(),
        _ => 0,
    };
    if full && pools > 1 && !overrides.to.is_empty() {
        let fault = Fault::new(format!("the file has {pools} pools, so it is not clear which"));
        let place = Place::of("--to");
        problems.push(Problem { place, path: "pools".to_owned(), fault });
    }
    apply(&mut tree, flags(overrides, pools, full), problems);
    if let Some(port) = overrides.port {
        move_to(port, &mut tree, problems);
    }
    Merged { tree, short, written }
}

/// One value from outside the file.
struct Variable {
    steps: Vec<Step>,
    value: Node,
}

impl Variable {
    fn at(path: &str, value: Node) -> Variable {
        Variable { steps: steps(path), value }
    }

    /// The addresses of `--to` as a list of backends.
    fn backends(path: &str, addresses: &[String]) -> Variable {
        let place = Place::of("--to");
        let items = addresses.iter().map(|address| text(&place, address)).collect();
        Variable::at(path, Node::new(Value::Seq(items), place))
    }

    fn is_short_form(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Key(key)) if forms::is_short(key))
    }
}

fn text(place: &Place, text: &str) -> Node {
    Node::new(Value::Str(text.to_owned()), place.clone())
}

fn apply(tree: &mut Node, variables: Vec<Variable>, problems: &mut Vec<Problem>) {
    for Variable { steps, value } in variables {
        let place = value.place.clone();
        forms::write_out_backend_at(tree, &steps);
        if let Err(message) = tree.set(&steps, value) {
            problems.push(Problem { place, path: path_of(&steps), fault: Fault::new(message) });
        }
    }
}

/// The flags as values of the full form; `full` if the file was in it.
fn flags(overrides: &Overrides, pools: usize, full: bool) -> Vec<Variable> {
    let mut flags = Vec::new();
    if let Some(listen) = &overrides.listen {
        let value = text(&Place::of("--listen"), listen);
        flags.push(Variable::at("listeners[0].bind", value));
    }
    if full && !overrides.to.is_empty() {
        flags.push(Variable::backends("pools[0].backends", &overrides.to));
    }
    if let Some(strategy) = &overrides.strategy {
        let place = Place::of("--strategy");
        let path = |index| format!("pools[{index}].strategy");
        let flag = |index| Variable::at(&path(index), text(&place, strategy));
        flags.extend((0..pools).map(flag));
    }
    flags
}

/// Gives the first listener another port.
fn move_to(port: u16, tree: &mut Node, problems: &mut Vec<Problem>) {
    let place = Place::of("--port");
    match dialect::on_port(tree, port) {
        Some(bind) => {
            apply(tree, vec![Variable::at(dialect::BIND, text(&place, &bind))], problems);
        }
        None => {
            let fault = Fault::new("the first listener binds to no port").hint("--listen ADDR");
            problems.push(Problem { place, path: dialect::BIND.to_owned(), fault });
        }
    }
}

/// The variables that are keys, in the order of their paths, so that lists grow from 0.
fn variables(overrides: &Overrides, problems: &mut Vec<Problem>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (name, text) in &overrides.environment {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let place = Place::of(name);
        let steps: Vec<Step> = rest.split("__").map(step).collect();
        if steps.contains(&Step::Key(String::new())) {
            let fault = Fault::new("names no key").hint("such as EVENKEEL__POOLS__0__STRATEGY");
            problems.push(Problem { place, path: path_of(&steps), fault });
            continue;
        }
        match value(text, &place) {
            Ok(value) => variables.push(Variable { steps, value }),
            Err(fault) => problems.push(Problem { place, path: path_of(&steps), fault }),
        }
    }
    variables.sort_by(|a, b| a.steps.cmp(&b.steps));
    variables
}

fn step(part: &str) -> Step {
    match part.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(part.to_ascii_lowercase()),
    }
}

fn path_of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => path += &format!("[{index}]"),
            Step::Key(key) if path.is_empty() => path += key,
            Step::Key(key) => path += &format!(".{key}"),
        }
    }
    path
}

/// A value of a variable: quoted, a flow list or map as in YAML, else one plain scalar.
fn value(text: &str, place: &Place) -> Result<Node, Fault> {
    if text.starts_with(['[', '{', '"', '\'']) {
        let mut node = tree_yaml::parse(text).map_err(|problem| problem.fault)?;
        relocate(&mut node, place);
        return Ok(node);
    }
    let value = match text {
        "" => Value::Str(String::new()),
        plain => tree_yaml::plain(plain),
    };
    Ok(Node::new(value, place.clone()))
}

fn relocate(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key_place = place.clone();
                relocate(&mut entry.value, place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
    }
}
