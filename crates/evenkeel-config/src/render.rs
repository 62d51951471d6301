//! The effective configuration as text that reads back to itself.

use serde_json::Value as Json;

/// As YAML.
pub(crate) fn yaml(json: &Json) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(json, options).unwrap_or_default()
}

/// As TOML.
pub(crate) fn toml(json: &Json) -> String {
    toml::to_string(json).unwrap_or_default()
}
