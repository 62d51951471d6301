#![no_main]

use evenkeel_config::{Dialect, Format, Source, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let source =
        |text: &str, format| Source { name: "fuzz".to_owned(), text: text.to_owned(), format };
    let named = Dialect::names().filter_map(Dialect::parse).map(Some);
    for dialect in named.chain([None]) {
        for from in [Format::Yaml, Format::Toml] {
            let Ok(once) = convert(&source(&text, from), dialect, Format::Yaml) else { continue };
            let again = convert(&source(&once.text, Format::Yaml), None, Format::Yaml);
            assert_eq!(again.map(|again| again.text).map_err(|e| e.to_string()), Ok(once.text));
        }
    }
});
