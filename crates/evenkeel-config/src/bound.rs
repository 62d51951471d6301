//! Every bound of this crate, in one place.

/// Bytes of a configuration text.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;

/// Nesting of maps and lists.
pub(crate) const MAX_DEPTH: usize = 64;

/// Values of one text, counted after YAML aliases are expanded.
pub(crate) const MAX_NODES: usize = 2_000_000;

/// Names compared for one "did you mean".
pub(crate) const MAX_CANDIDATES: usize = 1_000;

/// Characters of a source line shown below an error.
pub(crate) const MAX_SNIPPET_CHARS: usize = 120;

/// Bytes of a name of a pool, route, listener or backend.
pub(crate) const MAX_NAME_BYTES: usize = 255;
