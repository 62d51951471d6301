#![no_main]

use evenkeel_config::{Format, Overrides, Source, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Yaml, Format::Toml] {
        let source = Source { name: "fuzz".to_owned(), text: text.to_string(), format };
        let Ok(configuration) = read(Some(&source), &Overrides::default()) else { continue };
        let _ = configuration.plan();
        let shown = configuration.to_yaml();
        let again = Source { name: "shown".to_owned(), text: shown.clone(), format: Format::Yaml };
        let again = read(Some(&again), &Overrides::default()).map(|again| again.to_yaml());
        assert_eq!(again.map_err(|errors| errors.to_string()), Ok(shown));
    }
});
