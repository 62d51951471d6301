//! What a row of the table says.

use crate::problem::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::fmt;

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads; changes nothing.
    Get,
    /// Acts, or adds.
    Post,
    /// Changes parts.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// Upper case, as in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One method on one path.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// What is done.
    pub method: Method,
    /// To what; `{…}` stands for one segment.
    pub path: &'static str,
    /// In one sentence.
    pub summary: &'static str,
    /// What a token must allow; `None` = no token is asked for.
    pub role: Option<Role>,
    /// Name of the operation, and of the method of the client.
    pub operation: &'static str,
    pub(crate) query: &'static [Parameter],
    /// Whether `If-Match` is heeded.
    pub(crate) conditional: bool,
    /// Alternatives.
    pub(crate) body: &'static [Content],
    /// Whether there must be one, where there are alternatives.
    pub(crate) body_required: bool,
    /// Statuses that are no problem.
    pub(crate) answers: &'static [Answer],
    /// Statuses of problems, besides those that follow from the rest.
    pub(crate) problems: &'static [u16],
}

/// A parameter of the query; none is required.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) values: Values,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values {
    Duration,
    OneOf(&'static [&'static str]),
    /// The name of something configured.
    Name,
}

/// An answer that is no problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) meaning: &'static str,
    /// Alternatives; empty = no body.
    pub(crate) content: &'static [Content],
    pub(crate) etag: bool,
}

/// A body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Json(SchemaOf),
    /// JSON that is a problem as well.
    Problem(SchemaOf),
    /// Server-sent events whose data is JSON.
    Events(SchemaOf),
    /// Structured, in a form of this name.
    As(&'static str, SchemaOf),
    Text(&'static str),
}

pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(super) const fn json<T: JsonSchema>() -> Content {
    Content::Json(schema_of::<T>)
}

pub(super) const fn answer(
    status: u16,
    meaning: &'static str,
    content: &'static [Content],
) -> Answer {
    Answer { status, meaning, content, etag: false }
}

pub(super) const fn tagged(
    status: u16,
    meaning: &'static str,
    content: &'static [Content],
) -> Answer {
    Answer { status, meaning, content, etag: true }
}

impl Endpoint {
    /// The names between braces, in order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &'static str> {
        let inside = |segment: &'static str| segment.strip_prefix('{')?.strip_suffix('}');
        self.path.split('/').filter_map(inside)
    }

    /// Whether a status is an answer, not a problem.
    pub(crate) fn answers_with(&self, status: u16) -> bool {
        self.answers.iter().any(|answer| answer.status == status)
    }
}
