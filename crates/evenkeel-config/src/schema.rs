//! JSON Schema of the native form, for editors.

use crate::key::{Key, KeyShape, SectionShape, Shape};
use crate::sections::Root;
use serde_json::{Map, Value as Json, json};

/// JSON Schema (draft 2020-12) of the native form, with docs and defaults.
pub fn schema() -> Json {
    document("evenkeel configuration", Root::shape())
}

/// The schema of a whole document.
pub(crate) fn document(title: &str, shape: Shape) -> Json {
    let mut definitions = Map::new();
    let root = schema_of(shape, &mut definitions);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    });
    if let (Some(schema), Json::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Json::Object(definitions));
    }
    schema
}

/// A section becomes a definition that is referred to by its name.
fn schema_of(shape: Shape, definitions: &mut Map<String, Json>) -> Json {
    match shape {
        Shape::Scalar(_, schema) => schema,
        Shape::List(item) => json!({ "type": "array", "items": schema_of(*item, definitions) }),
        Shape::Table => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Shape::Free => json!({ "type": "object" }),
        Shape::Section(section) => {
            let (name, shorthand) = (section.name, section.shorthand.clone());
            if !definitions.contains_key(name) {
                let definition = section_schema(section, definitions);
                definitions.insert(name.to_owned(), definition);
            }
            let reference = json!({ "$ref": format!("#/$defs/{name}") });
            match shorthand {
                Some(shorthand) => json!({ "anyOf": [shorthand, reference] }),
                None => reference,
            }
        }
    }
}

fn section_schema(section: SectionShape, definitions: &mut Map<String, Json>) -> Json {
    let required: Vec<&str> =
        section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut properties = Map::new();
    for KeyShape { name, doc, default, required, shape } in section.keys {
        let mut schema = schema_of(shape, definitions);
        if let Some(keywords) = schema.as_object_mut() {
            keywords.insert("description".to_owned(), doc.into());
            if let Some(default) = default.filter(|_| !required) {
                keywords.insert("default".to_owned(), default);
            }
        }
        properties.insert(name.to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object",
        "description": section.about,
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(keywords) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        keywords.insert("required".to_owned(), required.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_definition() {
        let schema = schema();
        let text = schema.to_string();
        let references: Vec<&str> = text.split("#/$defs/").skip(1).collect();
        assert!(references.len() > 20);
        for reference in references {
            let name = reference.split('"').next().expect("a name");
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
        let health = &schema["$defs"]["Health"]["properties"];
        assert_eq!(health["interval"]["default"], "5s");
        assert_eq!(health["type"]["enum"][0], "http");
        assert_eq!(schema["$defs"]["Pool"]["required"], json!(["name"]));
    }
}
