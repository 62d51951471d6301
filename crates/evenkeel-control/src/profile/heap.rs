//! Who holds memory, and who has allocated it: what the allocator notes of call stacks, with the
//! names of their functions.

use super::message::{Function, Heading, Message, Unit};
use super::symbol;
use evenkeel_heap::{Site, Tally};
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// In the order in which Go has them.
const VALUES: [Unit; 4] =
    [("alloc_objects", "count"), ("alloc_space", "bytes"), IN_USE, ("inuse_space", "bytes")];
const IN_USE: Unit = ("inuse_objects", "count");
/// Who allocates on behalf of others: how names of its functions begin. A stack begins with who
/// asked, as Go's do.
const ON_BEHALF: [&str; 9] = [
    "alloc::",
    "backtrace::",
    "core::",
    "evenkeel_heap::",
    "hashbrown::",
    "std::alloc::",
    "std::collections::",
    "__rust_",
    "__rustc::",
];
/// The same by where their source is: names that debug information has may lack their module.
const ON_BEHALF_FILES: [&str; 7] = [
    "/backtrace-",
    "/evenkeel-heap/",
    "/hashbrown-",
    "/library/alloc/",
    "/library/core/",
    "/library/std/src/alloc.rs",
    "/library/std/src/collections/",
];
/// Call stacks for which there was no room.
const OTHERS: &str = "[other call stacks]";

/// What is looked at unless somebody asks for another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// What is in use.
    Heap,
    /// What was allocated since the start, also if it was freed since.
    Allocations,
}

impl View {
    /// Of the profile.
    pub(super) fn name(self) -> &'static str {
        match self {
            View::Heap => "heap",
            View::Allocations => "allocs",
        }
    }

    fn value(self) -> &'static str {
        match self {
            View::Heap => "inuse_space",
            View::Allocations => "alloc_space",
        }
    }
}

/// The profile; `None` if nothing is noted. Looking up the names takes a while.
pub(super) fn by_call_site(view: View) -> Option<Vec<u8>> {
    let rate = evenkeel_heap::rate()?;
    let message = encode(&evenkeel_heap::sites(), rate.get(), view);
    symbol::forget();
    Some(message)
}

fn encode(sites: &[Site], rate: usize, view: View) -> Vec<u8> {
    let mut named = HashMap::new();
    let mut message = Message::new();
    for site in sites {
        let whole: Vec<Vec<Function>> = site
            .calls
            .iter()
            .map(|call| named.entry(*call).or_insert_with(|| functions_at(*call)).clone())
            .collect();
        let stack = match &whole[..] {
            [] => vec![vec![Function { name: OTHERS.to_owned(), ..Function::default() }]],
            whole => from_who_asked(whole),
        };
        message.sample(&stack, &values(site), "");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    message.finish(&Heading {
        values: VALUES.to_vec(),
        default_value: view.value(),
        period: (("space", "bytes"), i64::try_from(rate).unwrap_or(i64::MAX)),
        time: (i64::try_from(now.as_nanos()).unwrap_or(i64::MAX), 0),
        comment: "of Rust code, since the start; estimated from one sample in so many bytes",
    })
}

fn values(site: &Site) -> [i64; 4] {
    let whole = |part: f64| {
        // Sums of small errors may end below zero.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and none is that large")]
        let whole = part.max(0.0).round() as i64;
        whole
    };
    let pair = |tally: Tally| [whole(tally.objects), whole(tally.bytes)];
    let ([objects, bytes], [in_use, held]) = (pair(site.allocated), pair(site.in_use));
    [objects, bytes, in_use, held]
}

/// What was called there; without a name its address.
fn functions_at(call: usize) -> Vec<Function> {
    let functions = symbol::functions_at(call);
    if functions.is_empty() {
        return vec![Function { name: format!("{call:#x}"), ..Function::default() }];
    }
    functions
}

/// The stack without those who allocate on behalf of others, which are innermost; the whole of it
/// if there is nobody else.
fn from_who_asked(stack: &[Vec<Function>]) -> Vec<Vec<Function>> {
    let on_behalf = |function: &Function| {
        let name = function.name.trim_start_matches('<');
        ON_BEHALF.iter().any(|begin| name.starts_with(begin))
            || ON_BEHALF_FILES.iter().any(|folder| function.file.contains(folder))
    };
    let mut rest = stack.to_vec();
    while let Some(innermost) = rest.first_mut() {
        match innermost.iter().position(|function| !on_behalf(function)) {
            Some(asked) => {
                innermost.drain(..asked);
                return rest;
            }
            None => rest.remove(0),
        };
    }
    stack.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::decoded::Decoded;

    fn function(name: &str) -> Function {
        Function { name: name.to_owned(), ..Function::default() }
    }

    #[test]
    fn a_stack_begins_with_who_asked() {
        let frame = |names: &[&str]| names.iter().copied().map(function).collect::<Vec<_>>();
        let vec_file = "/rustc/1/library/alloc/src/vec/mod.rs".to_owned();
        let walks = frame(&["backtrace::backtrace::trace_unsynchronized"]);
        let nameless = Function { name: "grow".to_owned(), file: vec_file, line: 1 };
        let grows = frame(&["<alloc::raw_vec::RawVec<T>>::grow_one", "<alloc::vec::Vec<T>>::push"]);
        let asks = frame(&["alloc::vec::Vec<T>::with_capacity", "evenkeel_core::limit::new"]);
        let root = frame(&["std::thread::start"]);
        let own = frame(&["evenkeel_core::limit::new"]);
        let stack = [walks.clone(), grows, vec![nameless], asks, root.clone()];
        assert_eq!(from_who_asked(&stack), [own, root]);
        assert_eq!(from_who_asked(std::slice::from_ref(&walks)), [walks]);
    }

    #[test]
    fn values_are_those_of_go_in_their_order() {
        let tally = |objects: f64, bytes: f64| Tally { objects, bytes };
        let site = |calls: &[usize]| Site {
            calls: calls.into(),
            allocated: tally(2.4, 2_048.0),
            in_use: tally(-0.000_1, 1_024.4),
        };
        for (view, wanted) in [(View::Heap, "inuse_space"), (View::Allocations, "alloc_space")] {
            let decoded = Decoded::from(&encode(&[site(&[]), site(&[1])], 4_096, view));
            let names = ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"];
            assert_eq!(decoded.values, names);
            assert_eq!(decoded.default_value, wanted);
            assert_eq!(decoded.period, 4_096);
            let wanted = [
                (vec![OTHERS.to_owned()], vec![2, 2_048, 0, 1_024]),
                (vec!["0x1".to_owned()], vec![2, 2_048, 0, 1_024]),
            ];
            assert_eq!(decoded.samples, wanted);
        }
    }

    #[inline(never)]
    #[expect(clippy::vec_box, reason = "many small allocations are what is to be seen")]
    fn holds(bytes: usize) -> Vec<Box<[u8; 1_000]>> {
        (0..bytes / 1_000).map(|_| std::hint::black_box(Box::new([1; 1_000]))).collect()
    }

    #[test]
    fn a_function_that_holds_memory_is_named_with_its_amount() {
        evenkeel_heap::start(evenkeel_heap::RATE);
        let amount = 256 << 20;
        let held = holds(amount);
        let decoded = Decoded::from(&by_call_site(View::Heap).expect("started"));
        let holds = |name: &String| name.ends_with("heap::tests::holds");
        let of = decoded.samples.iter().filter(|(stack, _)| stack.iter().any(holds));
        let in_use: i64 = of.map(|(_, values)| values[3]).sum();
        // About 512 samples: 4.4 % are one standard deviation.
        let part = in_use as f64 / amount as f64;
        assert!((0.75..1.25).contains(&part), "{in_use} of {amount}");
        drop(held);
    }
}
