//! axum's extractors with rejections that are problems and name the field.
//!
//! Use these in place of `axum::Json`, `axum::extract::Path` and `axum::extract::Query`:
//!
//! | what is wrong | status | code |
//! |---|---|---|
//! | content type is not JSON | 415 | `unsupported_media_type` |
//! | body over the limit | 413 | `body_too_large` |
//! | body is not JSON, or could not be read | 400 | `malformed_body` |
//! | path is not valid percent-encoded UTF-8 | 400 | `malformed_path` |
//! | a field is unknown, missing, or has the wrong type or value | 422 | `invalid_field` |
//!
//! Unknown fields are refused where the type says `#[serde(deny_unknown_fields)]`, which every
//! request body and query should.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::problem::Problem;

/// A JSON body, in requests and responses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Parses a body whose bytes are at hand, with the same problems as the extractor.
    ///
    /// # Errors
    ///
    /// 400 when it is not JSON, 422 when a field breaks a rule.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        // Serde would take its values for the fields, by their order.
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            let rule = "must be an object, not an array";
            return Err(Problem::invalid_field("body", "type", rule));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            match error.classify() {
                Category::Data => broken_rule(&path, &error.to_string(), "body"),
                Category::Syntax | Category::Eof | Category::Io => malformed(&error),
            }
        })?;
        deserializer.end().map_err(|error| malformed(&error))?;
        Ok(Self(value))
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request("malformed_body", format!("The body is not JSON: {error}"))
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(unreadable)?;
        Self::from_bytes(&bytes)
    }
}

/// `Option<Json<T>>`, for commands whose body may be left out: `None` when it is empty, whatever
/// the content type; otherwise as [`Json`].
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(unreadable)?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(None),
            (false, true) => Self::from_bytes(&bytes).map(Some),
            (false, false) => Err(not_json()),
        }
    }
}

fn not_json() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The content type is not JSON",
    )
    .detail("Send the body as Content-Type: application/json")
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large",
            )
        }
        other => Problem::bad_request("malformed_body", other.body_text()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = value.unwrap_or("").split(';').next().unwrap_or("").trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

/// The parameters in the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let names = RawPathParams::from_request_parts(parts, state).await.ok();
                Err(path_problem(rejection, names.as_ref()))
            }
        }
    }
}

fn path_problem(rejection: PathRejection, names: Option<&RawPathParams>) -> Problem {
    let error = match rejection {
        PathRejection::FailedToDeserializePathParams(error) => error,
        other => return Problem::internal(other.body_text()),
    };
    // With a single parameter, axum knows its value but not its name.
    let name_of = |value: &str| {
        let mut pairs = names.into_iter().flatten();
        let name = pairs.find(|(_, v)| *v == value).map(|(name, _)| name);
        name.unwrap_or("path").to_owned()
    };
    let expected = |kind: &str| format!("must be of type {kind}");
    match error.into_kind() {
        ErrorKind::ParseErrorAtKey {
            key, expected_type, ..
        } => Problem::invalid_field(key, "type", expected(expected_type)),
        ErrorKind::ParseErrorAtIndex {
            value,
            expected_type,
            ..
        }
        | ErrorKind::ParseError {
            value,
            expected_type,
        } => Problem::invalid_field(name_of(&value), "type", expected(expected_type)),
        ErrorKind::DeserializeError { key, message, .. } => {
            Problem::invalid_field(key, "format", message)
        }
        ErrorKind::InvalidUtf8InPathParam { key } => {
            Problem::bad_request("malformed_path", format!("{key} is not valid UTF-8"))
        }
        ErrorKind::Message(message) => match names.into_iter().flatten().next() {
            Some((name, _)) => Problem::invalid_field(name, "format", message),
            None => Problem::internal(message),
        },
        // The route and the handler disagree: a mistake of ours.
        other => Problem::internal(other),
    }
}

/// The parameters in the query string.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let deserializer = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(deserializer)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                broken_rule(&path, &error.into_inner().to_string(), "query")
            })
    }
}

/// Turns serde's error into the field and the rule. serde tells the kind of error in its message
/// only: in the words of `serde::de::Error`'s provided methods, and for a query's numbers and
/// booleans in those of the standard library's `FromStr`.
fn broken_rule(path: &str, message: &str, whole: &str) -> Problem {
    const RULES: [(&str, &str); 10] = [
        ("missing field ", "required"),
        ("unknown field ", "unknown"),
        ("duplicate field ", "unique"),
        ("unknown variant ", "one_of"),
        ("invalid type: ", "type"),
        ("invalid digit ", "type"),
        ("provided string was not ", "type"),
        ("invalid value: ", "value"),
        ("number too ", "value"),
        ("invalid length ", "length"),
    ];
    let rule = RULES
        .iter()
        .find(|(prefix, _)| message.starts_with(prefix))
        .map_or("format", |(_, rule)| rule);
    let mut field = field_path(path, message);
    if field.is_empty() {
        whole.clone_into(&mut field);
    }
    // serde_json ends its messages with where it stood, which is no help beside the field's name.
    let detail = message.split(" at line ").next().unwrap_or(message);
    Problem::invalid_field(field, rule, detail)
}

/// The dotted path of the field that serde's error is about; empty for the whole document.
///
/// serde raises a missing or doubled field at its parent and names it in the message only. For an
/// unknown one the path has the name already, unless the type buffers its input first, as
/// internally tagged enums do.
pub(crate) fn field_path(path: &str, message: &str) -> String {
    let path = path.trim_end_matches('?').trim_end_matches('.');
    let named = |prefix| message.strip_prefix(prefix)?.split('`').next();
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    if let Some(name) = named("missing field `").or_else(|| named("duplicate field `")) {
        return below(name);
    }
    match named("unknown field `") {
        Some(name) if path != name && !path.ends_with(&format!(".{name}")) => below(name),
        _ => path.to_owned(),
    }
}
