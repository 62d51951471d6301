#![no_main]

use evenkeel_config::{Format, Overrides, Product, Source, import, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let source = Source { name: "fuzz".to_owned(), text, format: Format::Yaml };
    for product in [Product::Nginx, Product::Haproxy] {
        for format in [Format::Yaml, Format::Toml] {
            let Ok(imported) = import(&source, product, format) else { continue };
            let native = Source { name: "native".to_owned(), text: imported.text, format };
            let read = read(Some(&native), &Overrides::default());
            assert!(read.is_ok(), "{}\n{}", native.text, read.err().unwrap_or_default());
        }
    }
});
