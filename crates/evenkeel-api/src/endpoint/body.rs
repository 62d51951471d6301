//! Bodies that no type of this crate stands for.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A duration, as plans and files write it.
const DURATION: &str = "^[1-9][0-9]{0,3}(ms|s|m|h)$";

/// A configuration in its short form. A schema cannot say which names exist and what else makes a
/// configuration hold; of this one every instance does.
pub(super) fn short_configuration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "A configuration in its short form. Every other key of a file is taken \
            as well: `evenkeel schema` has them all.",
        "properties": {
            "listen": {
                "description": "Where clients come in; left out: `:8080`.",
                "type": "string",
                "pattern": "^:[1-9][0-9]{3}$",
            },
            "backends": {
                "description": "Where requests go.",
                "type": "array",
                "minItems": 1,
                "uniqueItems": true,
                "items": {
                    "type": "string",
                    "pattern": "^[a-z][a-z0-9]{0,30}(\\.[a-z0-9]{1,30}){0,3}:[1-9][0-9]{3}$",
                },
            },
        },
        "required": ["backends"],
        "additionalProperties": false,
    })
}

/// A migration plan.
pub(super) fn migration_plan(_: &mut SchemaGenerator) -> Schema {
    let duration = || json_schema!({ "type": "string", "pattern": DURATION });
    let name = |of: &str| json_schema!({ "type": "string", "minLength": 1, "description": of });
    json_schema!({
        "type": "object",
        "description": "The plan of a migration; the guide on migrations tells every key.",
        "properties": {
            "name": name("Also its id; left out: made of route and time."),
            "route": name("Whose traffic moves."),
            "from": name("The pool that serves all of it."),
            "to": name("The pool that shall serve it."),
            "cohort": {
                "type": "string",
                "pattern": "^(client_ip|request|(header|cookie):[A-Za-z0-9-]+)$",
            },
            "interval": duration(),
            "gates": scalars(),
            "abort": scalars(),
            "preflight": scalars(),
            "stages": { "type": "array", "items": stage() },
            "watch": duration(),
            "webhooks": { "type": "array", "items": {
                "type": "object",
                "properties": {
                    "url": { "type": "string" },
                    "on": { "type": "array", "items": { "type": "string" } },
                    "timeout": duration(),
                },
                "required": ["url"],
                "additionalProperties": false,
            } },
        },
        "required": ["route", "from", "to"],
        "additionalProperties": false,
    })
}

/// One stage of a plan; its keys are those of the guide.
fn stage() -> Schema {
    let names = || {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9-]{1,60}$" },
            "additionalProperties": { "type": "string" },
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "match": {
                "type": "object",
                "properties": { "headers": names(), "cookies": names() },
                "additionalProperties": false,
            },
            "gates": scalars(),
        },
        "propertyNames": { "pattern": "^[a-z_]{1,30}$" },
        "additionalProperties": { "type": ["string", "number"] },
    })
}

/// Keys with a value each.
fn scalars() -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[a-z0-9_]{1,30}$" },
        "additionalProperties": { "type": ["string", "number"] },
    })
}

/// HAR 1.2.
pub(super) fn http_archive(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "An HTTP Archive 1.2.",
        "properties": {
            "log": {
                "type": "object",
                "properties": {
                    "version": { "const": "1.2" },
                    "creator": { "type": "object" },
                    "pages": { "type": "array" },
                    "entries": { "type": "array", "items": { "type": "object" } },
                },
                "required": ["version", "creator", "entries"],
            },
        },
        "required": ["log"],
    })
}

/// An object of another product's shape.
pub(super) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}
