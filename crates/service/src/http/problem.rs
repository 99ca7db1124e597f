//! Problem documents (RFC 9457): how every error looks to a client.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::catalogue::Kind;
use crate::error::ServiceError;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document as RFC 9457 has it, with what a program or a person needs to mend the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Where this class of problem is explained: a reference relative to the service's address.
    #[serde(rename = "type")]
    #[schema(example = "/docs#invalid_task")]
    pub kind: String,
    /// The class in a few words; the same for every problem of the class.
    pub title: String,
    /// The HTTP status, once more.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The class, for programs. It never changes.
    pub code: Kind,
    /// The field of the body that is meant, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/dependencies")]
    pub pointer: Option<String>,
    /// The parameter of the path, the query or the header that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The line, from 1: of the field's text where there is a pointer, of the body otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column of the body, in bytes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds after which trying again makes sense; the Retry-After header says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// The Allow header of a 405, which is set where the router has not set it.
    #[serde(skip)]
    pub allow: Option<&'static str>,
}

/// A shorter name for what handlers answer.
pub type Answer<T> = Result<T, Box<Problem>>;

impl Problem {
    /// A problem of a class, with what is wrong in lower case.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("/docs#{}", kind.code()),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            instance: None,
            code: kind,
            pointer: None,
            parameter: None,
            line: None,
            column: None,
            hint: None,
            retry_after_seconds: None,
            allow: None,
        }
    }

    /// The same problem with its next step.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same problem of a field.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Problem {
        Problem {
            pointer: Some(pointer.into()),
            ..self
        }
    }

    /// The same problem of a parameter.
    #[must_use]
    pub fn parameter(self, name: impl Into<String>) -> Problem {
        Problem {
            parameter: Some(name.into()),
            ..self
        }
    }

    /// The same problem, which may be gone after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Problem {
        Problem {
            retry_after_seconds: Some(seconds.max(1)),
            ..self
        }
    }

    /// The status line's number.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The document as JSON.
    pub fn json(&self) -> String {
        // A struct of strings and numbers serialises; should that ever change, the title says enough.
        serde_json::to_string(self).unwrap_or_else(|_| format!("{{\"status\":{}}}", self.status))
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Problem {
        let kind = Kind::of(&error);
        let told = match &error {
            // What the disk or the database says is for the operator's log, not for a stranger.
            ServiceError::Storage { .. } => "the database does not answer".to_owned(),
            ServiceError::StorageFull { .. } => "there is no room left to keep anything".to_owned(),
            ServiceError::StorageBusy { .. } => "the database is locked".to_owned(),
            ServiceError::Internal { .. } => "something went wrong in the service".to_owned(),
            ServiceError::Parameter { message, .. } => message.clone(),
            ServiceError::Invalid(error) => error.message.clone(),
            other => other.to_string(),
        };
        let (detail, hint) = match told.split_once("\nhint: ") {
            Some((detail, hint)) => (detail.to_owned(), Some(hint.to_owned())),
            None => (told, None),
        };
        let mut problem = Problem::new(kind, detail);
        problem.hint = hint;
        problem.pointer = error.pointer().map(str::to_owned);
        problem.retry_after_seconds = error.retry_after().map(|after| after.as_secs().max(1));
        match error {
            ServiceError::Parameter { name, .. } => problem.parameter = Some(name.to_owned()),
            ServiceError::Invalid(error) => {
                problem.line = error.line;
                problem.hint = error.hint;
            }
            ServiceError::Storage { message } | ServiceError::StorageFull { message } => {
                tracing::error!(%message, "the store does not answer");
            }
            ServiceError::StorageBusy { message } => tracing::warn!(%message, "the store is locked"),
            ServiceError::Internal { message } => tracing::error!(%message, "internal error"),
            _ => {}
        }
        problem
    }
}

impl From<ServiceError> for Box<Problem> {
    fn from(error: ServiceError) -> Box<Problem> {
        Box::new(error.into())
    }
}

/// The response without its body: the outermost layer writes that, for it alone knows the request and whether a
/// program or a person asks.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        match self.code {
            Kind::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer realm=\"hybrid-cache\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            // The rest of the body is not read, so the connection is of no more use.
            Kind::TooLarge | Kind::TooSlow => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Box<Problem> {
    fn into_response(self) -> Response {
        (*self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::TaskSpec;

    use super::*;

    #[test]
    fn a_refused_task_names_its_field_its_line_and_the_next_step() {
        let spec = TaskSpec {
            requirements_file: "numpy\n--index-url=x".into(),
            ..TaskSpec::new("1")
        };
        let problem = Problem::from(ServiceError::Invalid(spec.check().unwrap_err()));
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.pointer.as_deref(), Some("/requirementsFile"));
        assert_eq!(problem.line, Some(2));
        assert!(problem.hint.is_some());
        let json: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        assert_eq!(json["type"], "/docs#invalid_task");
        assert_eq!(json["code"], "invalid_task");
    }

    #[test]
    fn what_the_disk_says_stays_inside() {
        let problem = Problem::from(ServiceError::StorageFull {
            message: "/var/lib/secret: no space".into(),
        });
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!problem.json().contains("secret"));
    }
}
