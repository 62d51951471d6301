//! Names of addresses, from the binary's own symbols.

use super::message::Function;
use std::fmt::Write;

/// Addresses that are looked up for one request.
const MAX_ADDRESSES: usize = 4_096;

/// What is at the place that a call returns to: with what was inlined, innermost first. Empty if
/// that is not known.
pub(super) fn functions_at(call: usize) -> Vec<Function> {
    let mut functions = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(call), |symbol| {
        let Some(name) = symbol.name() else { return };
        let file = symbol.filename().map(|file| file.display().to_string()).unwrap_or_default();
        let line = symbol.lineno().map_or(0, i64::from);
        functions.push(Function { name: format!("{name:#}"), file, line });
    });
    functions
}

/// The names of addresses between which a `+` stands, a line each, as Go writes them; those that
/// have none are left out.
pub(super) fn names(addresses: &str) -> String {
    // That it has any is all that is said: how many does not matter to who asks.
    let mut text = "num_symbols: 1\n".to_owned();
    for word in addresses.split('+').take(MAX_ADDRESSES) {
        let word = word.trim();
        let address = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => usize::from_str_radix(digits, 16),
            None => word.parse(),
        };
        let Ok(address @ 1..) = address else { continue };
        // Asked for is where an instruction begins, not where a call returns to.
        let found = functions_at(address.saturating_add(1));
        if let Some(innermost) = found.first() {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{address:#x} {}", innermost.name);
        }
    }
    forget();
    text
}

/// What it took to look up names is not kept, neither here nor by the allocator.
pub(super) fn forget() {
    backtrace::clear_symbol_cache();
    evenkeel_heap::give_back();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_place_to_find() -> u32 {
        std::hint::black_box(std::process::id())
    }

    #[test]
    fn a_function_is_found_by_where_it_begins() {
        assert!(a_place_to_find() > 0);
        let address = (a_place_to_find as fn() -> u32) as usize;
        for asked in [format!("{address:#x}"), format!("1+{address}+0x+-1+x+0")] {
            let text = names(&asked);
            let lines: Vec<&str> = text.lines().collect();
            let ["num_symbols: 1", found] = lines.as_slice() else { panic!("{text}") };
            let named = found.strip_prefix(&format!("{address:#x} "));
            assert!(named.is_some_and(|name| name.ends_with("a_place_to_find")), "{found}");
        }
        assert_eq!(names(""), "num_symbols: 1\n");
    }
}
