//! The description of every route by OpenAPI 3.1, made from the routes themselves.

use serde_json::{Map, Value, json};
use sluice_model::Code;
use utoipa::openapi::OpenApi;

/// Where it is.
pub(in crate::doors::http) const DOCUMENT: &str = "/v1/openapi.json";

/// The document: what the routes say of themselves, and what all of them have in common.
pub(in crate::doors::http) fn describe(routes: OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    merge(
        &mut document,
        json!({
            "info": {
                "title": "Sluice",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "A durable message broker with flow control at its heart.",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "components": {
                "schemas": { "Failure": failure() },
                "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            },
            "security": [{}, { "key": [] }],
        }),
    );
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    for operation in operations.flat_map(Map::values_mut) {
        refuse(operation);
    }
    document
}

/// Adds the refusals that any request may meet.
fn refuse(operation: &mut Value) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    for code in Code::ALL {
        let (status, text) = (code.status().to_string(), format!("`{code}`"));
        let known = responses.entry(status).or_insert_with(|| {
            let schema = json!({ "$ref": "#/components/schemas/Failure" });
            json!({ "description": "", "content": { "application/json": { "schema": schema } } })
        });
        if let Some(Value::String(described)) = known.get_mut("description") {
            if !described.is_empty() {
                described.push_str(", ");
            }
            described.push_str(&text);
        }
    }
}

/// The shape of every error.
fn failure() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let whole = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "status", "message"],
                "properties": {
                    "code": { "type": "string", "enum": codes },
                    "status": whole,
                    "message": { "type": "string" },
                    "retry_after_ms": whole,
                },
            },
        },
    })
}

/// Puts `other` into `into`, which gives way where both have something.
fn merge(into: &mut Value, other: Value) {
    match (into, other) {
        (Value::Object(into), Value::Object(other)) => {
            for (name, value) in other {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, other) => *into = other,
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::json;

    use super::*;
    use crate::doors::http::door;

    fn document() -> Value {
        serde_json::from_str(&door::document()).unwrap()
    }

    fn fields<'a>(document: &'a Value, schema: &str) -> Vec<&'a str> {
        let properties = &document["components"]["schemas"][schema]["properties"];
        let names = properties.as_object().unwrap_or_else(|| panic!("no {schema}")).keys();
        names.map(String::as_str).collect()
    }

    #[test]
    fn the_document_is_the_one_that_is_kept() {
        let text = serde_json::to_string_pretty(&document()).unwrap();
        insta::assert_snapshot!("openapi", text);
    }

    #[test]
    fn the_document_describes_what_requests_are_read_as() {
        let document = document();
        let same = |schema: &str, known: &[&str]| {
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(fields(&document, schema), known, "{schema}");
        };
        for (verb, schema) in [
            ("queue.declare", "Settings"),
            ("queue.purge", "Purge"),
            ("queue.redrive", "Redrive"),
            ("queue.reschedule", "Reschedule"),
        ] {
            let (_, known) = json::verbs().find(|(known, _)| *known == verb).unwrap();
            let in_path = ["name", "id"];
            let known: Vec<_> = known.iter().copied().filter(|f| !in_path.contains(f)).collect();
            same(schema, &known);
        }
        for (verb, schema, in_path) in [
            ("limit.put", "NewLimit", "name"),
            ("limit.pause", "Pause", "queue"),
            ("limit.resume", "Resume", "queue"),
            ("queue.weigh", "Weigh", "name"),
        ] {
            let (_, known) = json::LIMIT_VERBS.iter().find(|(known, _)| *known == verb).unwrap();
            let known: Vec<_> = known.iter().copied().filter(|f| *f != in_path).collect();
            same(schema, &known);
        }
        same("Receive", &json::RECEIVE_FIELDS);
        for (what, known) in json::SETTLE_FIELDS {
            let schema = format!("{}{}", what[..1].to_uppercase(), &what[1..]);
            same(&schema, known);
        }
        let of_messages: Vec<_> =
            json::MESSAGE_FIELDS.iter().copied().filter(|f| *f != "level").collect();
        same("NewMessage", &[&["payload"], &of_messages[..]].concat());
        let raw = &document["paths"]["/v1/queues/{name}/messages/raw"]["post"]["parameters"];
        let headers: Vec<_> =
            raw.as_array().unwrap().iter().filter(|p| p["in"] == "header").collect();
        assert_eq!(headers.len(), json::MESSAGE_FIELDS.len() - 1, "all but headers");
    }

    #[test]
    fn every_code_is_among_the_answers_of_every_route() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() > 25, "{}", paths.len());
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                for code in Code::ALL {
                    let answer = &operation["responses"][code.status().to_string()];
                    assert!(answer.is_object(), "{method} {path} has no {code}");
                }
                assert!(operation["operationId"].is_string(), "{method} {path}");
            }
        }
    }
}
