//! The table of endpoints as an OpenAPI 3.1 document.

use crate::endpoint::{Answer, Content, ENDPOINTS, Endpoint, Parameter, SchemaOf, Values};
use crate::problem::{Problem, Role};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Statuses that are refused with a problem: the name in the document, and what it means.
const PROBLEMS: &[(u16, &str, &str)] = &[
    (400, "BadRequest", "The request is not understood."),
    (401, "Unauthorized", "No token, or one that is not known."),
    (403, "Forbidden", "The token's role does not allow this."),
    (404, "NotFound", "There is no such thing."),
    (406, "NotAcceptable", "`Accept` excludes application/json."),
    (409, "Conflict", "It cannot be done in the present state."),
    (412, "PreconditionFailed", "It has changed since the ETag of `If-Match` was read."),
    (413, "ContentTooLarge", "The body is too large."),
    (415, "UnsupportedMediaType", "The body is in no form that is read here."),
    (421, "MisdirectedRequest", "`Host` or `Origin` is not a name of this listener."),
    (422, "UnprocessableContent", "A value cannot be; `errors` names the field."),
    (429, "TooManyRequests", "Too many unknown tokens; wait for `Retry-After`."),
];
/// Durations that every reader of the document can write; more forms are understood.
const DURATION: &str = "^([0-9]{1,9}ms|[0-9]{1,6}(s|m|h))$";

/// `If-Match` is told in words: no schema says which ETag is the one of now, and a parameter whose
/// legal values are refused is worse than none.
const CONDITIONAL: &str = " The header `If-Match` is heeded: an ETag that was read, or `*`; \
    with one that is not of now nothing is changed (412).";

/// The document for a program of this version. Whether a token is needed depends on its address.
pub fn openapi(version: &str) -> Value {
    document(version, &[json!({ "bearer": [] }), json!({})])
}

/// The document of a listener that asks everybody for a token.
pub fn openapi_with_tokens(version: &str) -> Value {
    document(version, &[json!({ "bearer": [] })])
}

fn document(version: &str, security: &[Value]) -> Value {
    let mut writer = Writer::new(security);
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let operation = writer.operation(endpoint);
        let methods = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        methods[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let responses = writer.problems();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "evenkeel admin API",
            "version": version,
            "description": "Watch and steer a running evenkeel. Times are RFC 3339 in UTC. \
                On a loopback address no token is asked for.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": writer.schemas(),
            "responses": responses,
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Writes operations, and gathers the schemas that they name.
struct Writer<'a> {
    /// What an endpoint with a role asks for: one of these. The empty one is nothing.
    security: &'a [Value],
    /// What we write: what is always there is required.
    answers: SchemaGenerator,
    /// What we read: what has a default is not.
    requests: SchemaGenerator,
}

impl Writer<'_> {
    fn new(security: &[Value]) -> Writer<'_> {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Writer {
            security,
            answers: settings.clone().for_serialize().into_generator(),
            requests: settings.for_deserialize().into_generator(),
        }
    }

    fn operation(&mut self, endpoint: &Endpoint) -> Value {
        let (mut about, security) = match endpoint.role {
            Some(role) => (format!("Role: {}.", role.as_str()), json!(self.security)),
            None => ("No token is asked for.".to_owned(), json!([])),
        };
        if endpoint.conditional {
            about.push_str(CONDITIONAL);
        }
        let mut operation = json!({
            "operationId": endpoint.operation,
            "summary": endpoint.summary,
            "description": about,
            "security": security,
        });
        let parameters = parameters(endpoint);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if !endpoint.body.is_empty() {
            let content = contents(&mut self.requests, endpoint.body);
            operation["requestBody"] =
                json!({ "required": endpoint.body_required, "content": content });
        }
        let mut responses = Map::new();
        for answer in endpoint.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        for (status, name, _) in PROBLEMS {
            if refuses(endpoint, *status) {
                let reference = format!("#/components/responses/{name}");
                responses.insert(status.to_string(), json!({ "$ref": reference }));
            }
        }
        let default = json!({ "$ref": "#/components/responses/Problem" });
        responses.insert("default".to_owned(), default);
        operation["responses"] = responses.into();
        operation
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut response = json!({ "description": answer.meaning });
        if answer.etag {
            let meaning = "Stands for what is configured; for `If-Match`.";
            let etag = json!({ "description": meaning, "schema": { "type": "string" } });
            response["headers"] = json!({ "ETag": etag });
        }
        if !answer.content.is_empty() {
            response["content"] = contents(&mut self.answers, answer.content);
        }
        response
    }

    fn problems(&mut self) -> Map<String, Value> {
        let schema = self.answers.subschema_for::<Problem>();
        let content = json!({ Problem::MEDIA_TYPE: { "schema": schema } });
        let problem = |meaning: &str| json!({ "description": meaning, "content": content });
        let mut problems = Map::new();
        problems.insert("Problem".to_owned(), problem("Any other problem."));
        for (_, name, meaning) in PROBLEMS {
            problems.insert((*name).to_owned(), problem(meaning));
        }
        problems
    }

    /// In the order of their names.
    fn schemas(mut self) -> Map<String, Value> {
        let mut schemas = self.answers.take_definitions(true);
        schemas.extend(self.requests.take_definitions(true));
        schemas.sort_keys();
        schemas
    }
}

/// Which problems a caller has to expect follows from what the endpoint takes.
fn refuses(endpoint: &Endpoint, status: u16) -> bool {
    if endpoint.answers_with(status) {
        return false;
    }
    let takes_body = !endpoint.body.is_empty();
    let implied = match status {
        400 => takes_body || !endpoint.query.is_empty() || endpoint.path.contains("{n}"),
        401 | 403 | 429 => endpoint.role.is_some(),
        406 => endpoint.path.starts_with("/api/") && endpoint.operation != "events",
        409 => endpoint.role >= Some(Role::Operator),
        404 => endpoint.path.contains('{'),
        412 => endpoint.conditional,
        413 | 415 | 422 => takes_body,
        421 => true,
        _ => false,
    };
    implied || endpoint.problems.contains(&status)
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let of_path = endpoint.segments().map(path_parameter);
    of_path.chain(endpoint.query.iter().map(query_parameter)).collect()
}

fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "n" => json!({ "type": "integer", "format": "uint64", "minimum": 1 }),
        _ => json!({ "type": "string", "minLength": 1 }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.values {
        Values::Duration => json!({ "type": "string", "pattern": DURATION }),
        Values::OneOf(values) => json!({ "type": "string", "enum": values }),
        Values::Name => json!({ "type": "string" }),
    };
    let (name, meaning) = (parameter.name, parameter.meaning);
    json!({ "name": name, "in": "query", "description": meaning, "schema": schema })
}

/// Several of one media type are alternatives.
fn contents(generator: &mut SchemaGenerator, contents: &[Content]) -> Value {
    let mut alternatives = Map::new();
    for content in contents {
        let (media_type, schema) = content_of(generator, content);
        let body = match alternatives.remove(media_type) {
            None => schema,
            Some(mut before) => json!({ "anyOf": [before["schema"].take(), schema] }),
        };
        alternatives.insert(media_type.to_owned(), json!({ "schema": body }));
    }
    alternatives.into()
}

fn content_of(generator: &mut SchemaGenerator, content: &Content) -> (&'static str, Value) {
    let mut schema = |of: SchemaOf| of(generator).to_value();
    match content {
        Content::Json(of) => ("application/json", schema(*of)),
        Content::Problem(of) => (Problem::MEDIA_TYPE, schema(*of)),
        Content::Events(of) => {
            let lines = json!({
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema(*of),
            });
            ("text/event-stream", lines)
        }
        Content::As(media_type, of) => (media_type, schema(*of)),
        Content::Text(media_type) => (media_type, json!({ "type": "string" })),
    }
}
