//! The API reference for people: the OpenAPI document as a page without scripts.

use std::sync::OnceLock;

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::description::OPENAPI;
use crate::page::layout;
use hybrid_cache_api::ProblemType;

/// The page. It is rendered once, because the document does not change while the service runs.
pub fn page() -> Markup {
    static PAGE: OnceLock<String> = OnceLock::new();
    let text = PAGE.get_or_init(|| {
        // A test holds the committed document to be JSON.
        let document: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
        render(&document).into_string()
    });
    PreEscaped(text.clone())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn render(document: &Value) -> Markup {
    layout::document(
        "Reference",
        layout::Here::Docs,
        &html! {
            h1 { "API reference" }
            p class="lede" { (layout::prose(text(&document["info"], "description"))) }
            p { "For programs: " a href="/openapi.json" { code { "/openapi.json" } } "." }
            @for tag in document["tags"].as_array().into_iter().flatten() {
                @let name = text(tag, "name");
                section aria-labelledby=(format!("tag-{name}")) {
                    h2 id=(format!("tag-{name}")) class="capital" { (name) }
                    p class="lede" { (text(tag, "description")) }
                    @for (path, item) in entries(document.get("paths")) {
                        @for (method, operation) in entries(Some(item)) {
                            @if operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|own| own == name)) {
                                (self::operation(path, method, operation))
                            }
                        }
                    }
                }
            }
            section aria-labelledby="schemas" {
                h2 id="schemas" { "Documents" }
                @for (name, schema) in entries(document["components"].get("schemas")) {
                    (self::schema(name, schema))
                }
            }
            section aria-labelledby="problems" {
                h2 id="problems" { "Problems" }
                p { "Every error is a document of type " code { "application/problem+json" } " (RFC 9457)." }
                div class="scroll" tabindex="0" role="region" aria-labelledby="problems" {
                    table {
                        thead { tr { th scope="col" { "code" } th scope="col" class="n" { "status" } th scope="col" { "what it means" } } }
                        tbody {
                            @for kind in ProblemType::ALL {
                                tr id=(kind.code()) {
                                    th scope="row" { code { (kind.code()) } }
                                    td class="n" { (kind.status()) }
                                    td class="text" { (kind.title()) ". " (layout::prose(kind.advice())) }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn operation(path: &str, method: &str, operation: &Value) -> Markup {
    let id = text(operation, "operationId");
    html! {
        article class="operation" id=(id) {
            h3 { span class=(format!("method m-{method}")) { (method.to_uppercase()) } " " code { (path) } }
            p { strong { (text(operation, "summary")) } }
            @if let Some(description) = operation.get("description").and_then(Value::as_str) {
                p { (layout::prose(description)) }
            }
            @if let Some(parameters) = operation.get("parameters").and_then(Value::as_array) {
                (table(id, "parameters", &html! {
                    @for parameter in parameters { (row(
                        text(parameter, "name"),
                        &format!("{}, {}", text(parameter, "in"), type_of(&parameter["schema"])),
                        text(parameter, "description"),
                    )) }
                }))
            }
            @if let Some(body) = operation.get("requestBody") {
                p { "Body: " (content(body)) }
            }
            (table(id, "answers", &html! {
                @for (status, response) in entries(operation.get("responses")) {
                    tr {
                        th scope="row" { code { (status) } }
                        td { (content(response)) }
                        td class="text" { (layout::prose(text(response, "description"))) }
                    }
                }
            }))
        }
    }
}

fn table(id: &str, what: &str, rows: &Markup) -> Markup {
    let heading = format!("{id}-{what}");
    html! {
        h4 id=(heading) class="capital" { (what) }
        div class="scroll" tabindex="0" role="region" aria-labelledby=(heading) { table { tbody { (rows) } } }
    }
}

fn row(name: &str, kind: &str, description: &str) -> Markup {
    html! {
        tr { th scope="row" { code { (name) } } td { (kind) } td class="text" { (layout::prose(description)) } }
    }
}

/// The media types of a body, with links to their schemas.
fn content(of: &Value) -> Markup {
    html! {
        @for (at, (media_type, body)) in entries(of.get("content")).enumerate() {
            @if at > 0 { ", " }
            @match reference(&body["schema"]) {
                Some(name) => a href=(format!("#schema-{name}")) { (name) },
                None => code { (media_type) },
            }
        }
    }
}

/// The name of the referenced schema, also if it is one of several alternatives.
fn reference(schema: &Value) -> Option<&str> {
    let own = schema.get("$ref").and_then(Value::as_str);
    let among = || {
        schema
            .get("oneOf")?
            .as_array()?
            .iter()
            .find_map(|one| one.get("$ref")?.as_str())
    };
    own.or_else(among)?.rsplit('/').next()
}

fn type_of(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name.to_owned();
    }
    let named = match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
            .unwrap_or_default(),
        other => other.as_str().unwrap_or_default(),
    };
    match named {
        "array" => format!("list of {}", type_of(&schema["items"])),
        named => named.to_owned(),
    }
}

fn schema(name: &str, schema: &Value) -> Markup {
    let parts: Vec<&Value> = match schema.get("allOf").and_then(Value::as_array) {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    let mut description = parts
        .iter()
        .map(|part| text(part, "description"))
        .chain([text(schema, "description")]);
    let described = description
        .rfind(|text| !text.is_empty())
        .unwrap_or_default()
        .to_owned();
    let id = format!("schema-{name}");
    html! {
        article class="operation" id=(id) {
            h3 { code { (name) } }
            p { (layout::prose(&described)) }
            @for part in &parts {
                @if let Some(base) = reference(part) {
                    p { "Everything of " a href=(format!("#schema-{base}")) { (base) } ", and:" }
                }
            }
            @if let Some(words) = schema.get("enum").and_then(Value::as_array) {
                p { "One of " @for (at, word) in words.iter().enumerate() {
                    @if at > 0 { ", " } code { (word.as_str().unwrap_or_default()) }
                } "." }
            }
            @let fields: Vec<_> = parts.iter().flat_map(|part| entries(part.get("properties"))).collect();
            @if !fields.is_empty() {
                div class="scroll" tabindex="0" role="region" aria-label=(format!("fields of {name}")) { table { tbody {
                    @for (field, own) in fields { (row(field, &type_of(own), text(own, "description"))) }
                } } }
            }
        }
    }
}
