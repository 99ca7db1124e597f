//! The OpenAPI document, generated from the handlers.

use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::{logs, operate, tasks};
use hybrid_cache_api::{MEDIA_TYPE, Problem, ProblemType, StreamName};

/// The methods that a path can have here.
const METHODS: [&str; 3] = ["get", "post", "delete"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hybrid-cache task service",
        description = "Submit Python programs with the packages and system tools they need, run them, watch them, and see where \
                       the time went. Every error is a problem document (RFC 9457); `code` names its class.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags((name = "tasks", description = "Tasks: submit, run, watch, cancel and delete them."), (name = "operation", description = "Probes, metrics and the reference.")),
    components(schemas(Problem, StreamName)),
)]
struct Base;

/// Every documented path, with its handlers.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(tasks::submit))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::read, tasks::delete))
        .routes(routes!(tasks::run))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::lock))
        .routes(routes!(logs::logs))
        .routes(routes!(operate::healthz))
        .routes(routes!(operate::readyz))
        .routes(routes!(operate::metrics))
        .routes(routes!(operate::description))
        .routes(routes!(operate::docs))
}

/// The document as JSON text with a line break at its end.
///
/// # Errors
/// It does not serialise, which would be a bug of the generator.
pub fn generate() -> serde_json::Result<String> {
    let mut document = serde_json::to_value(routes().into_openapi())?;
    document["security"] = json!([{}, {"token": []}]);
    document["components"]["securitySchemes"] = json!({"token": {
        "type": "http", "scheme": "bearer",
        "description": "Required if the service listens on more than its own machine; the operator's --token-file holds it. \
                        A token belongs to a tenant, which sees only its own tasks: another tenant's tasks look like tasks that do not exist.",
    }});
    let problem = json!({MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}});
    if let Some(Value::Object(paths)) = document.get_mut("paths") {
        for (path, item) in paths {
            for method in METHODS {
                if let Some(operation) = item.get_mut(method) {
                    add_problems(path, method, operation, &problem);
                }
            }
        }
    }
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// The classes of problem that a path can return.
fn problems(path: &str, method: &str) -> Vec<ProblemType> {
    let mut kinds = vec![
        ProblemType::InvalidParameter,
        ProblemType::MisdirectedRequest,
        ProblemType::Internal,
        ProblemType::Timeout,
    ];
    let public = ["/healthz", "/readyz", "/openapi.json", "/docs"].contains(&path);
    if !public {
        kinds.push(ProblemType::Unauthorized);
    }
    if method != "get" {
        kinds.push(ProblemType::CrossSite);
    }
    if path.contains("{id}") {
        kinds.push(ProblemType::NotFound);
    }
    let also: &[ProblemType] = match (method, path) {
        ("post", "/api/v1/tasks/submit") => &[
            ProblemType::InvalidJson,
            ProblemType::InvalidUtf8,
            ProblemType::TooSlow,
            ProblemType::TooLarge,
            ProblemType::UnsupportedMediaType,
            ProblemType::InvalidTask,
            ProblemType::IdempotencyMismatch,
            ProblemType::TooMany,
        ],
        ("post", "/api/v1/tasks/{id}/run") => &[ProblemType::Conflict, ProblemType::QueueFull],
        ("delete", _) | ("get", "/api/v1/tasks/{id}/lock") => &[ProblemType::Conflict],
        ("get", "/api/v1/tasks/{id}/logs") => &[ProblemType::TooMany],
        ("get", "/readyz") => &[ProblemType::NotReady],
        _ => &[],
    };
    kinds.extend_from_slice(also);
    let stored = path.starts_with("/api/");
    if stored {
        kinds.extend([ProblemType::StorageBusy, ProblemType::Storage]);
    }
    if stored && method != "get" {
        kinds.extend([ProblemType::StorageFull, ProblemType::ShuttingDown]);
    }
    kinds
}

fn add_problems(path: &str, method: &str, operation: &mut Value, content: &Value) {
    let mut kinds = problems(path, method);
    kinds.sort_by_key(|kind| (kind.status(), *kind as usize));
    let responses = &mut operation["responses"];
    for kind in kinds {
        let status = kind.status().to_string();
        let description = format!("`{}`: {}.", kind.code(), kind.title());
        match responses
            .get_mut(&status)
            .and_then(|response| response.get_mut("description"))
        {
            Some(Value::String(text)) => {
                text.push(' ');
                text.push_str(&description);
            }
            _ => {
                let mut response = json!({"description": description, "content": content});
                if ["429", "503"].contains(&status.as_str()) {
                    response["headers"] = json!({"Retry-After": {
                        "description": "Seconds to wait before trying again.",
                        "schema": {"type": "integer", "minimum": 1},
                    }});
                }
                responses[&status] = response;
            }
        }
    }
}
