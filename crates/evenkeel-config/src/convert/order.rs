//! Keys in the order of the reference, without those that have no value.

use crate::key::{Key, Shape};
use crate::sections::Root;
use crate::tree::{Node, Value};

/// The tree of a valid configuration, ordered.
pub(super) fn ordered(tree: Node) -> Node {
    let mut tree = tree;
    order(&mut tree, &Root::shape());
    tree
}

fn order(node: &mut Node, shape: &Shape) {
    match (&mut node.value, shape) {
        (Value::Map(entries), Shape::Section(section)) => {
            entries.retain(|entry| entry.value.value != Value::Null);
            let place = |key: &str| section.keys.iter().position(|known| known.name == key);
            entries.sort_by_key(|entry| place(&entry.key));
            for entry in entries {
                let known = section.keys.iter().find(|known| known.name == entry.key);
                known.into_iter().for_each(|known| order(&mut entry.value, &known.shape));
            }
        }
        (Value::Map(entries), Shape::Table | Shape::Free) => {
            entries.retain(|entry| entry.value.value != Value::Null);
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries.iter_mut().for_each(|entry| order(&mut entry.value, &Shape::Free));
        }
        (Value::Seq(items), Shape::List(inner)) => {
            items.iter_mut().for_each(|item| order(item, inner));
        }
        (Value::Seq(items), Shape::Free) => {
            items.iter_mut().for_each(|item| order(item, &Shape::Free));
        }
        // A scalar has no order.
        _ => {}
    }
}
