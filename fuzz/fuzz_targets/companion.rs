#![no_main]

use evenkeel_config::{Format, Source, migration_names, read_migration, read_targets, tokens};
use evenkeel_core::address::{BackendAddress, Scheme};
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Yaml, Format::Toml] {
        let source = Source { name: "fuzz".to_owned(), text: text.to_string(), format };
        let Ok(plan) = read_migration(&source, 0) else { continue };
        let named = [&plan.route, &plan.from, &plan.to].map(|name| name.to_string());
        assert_eq!(migration_names(&source), Some(named));
    }
    if let Ok(entries) = tokens("fuzz", &text) {
        let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.len(), entries.len(), "names are unique");
    }
    if let Ok(found) = read_targets("fuzz", &text, Scheme::Http) {
        for backend in found {
            let again = BackendAddress::parse(&backend.address.text);
            assert_eq!(again, Ok(backend.address), "{}", backend.name);
        }
    }
});
