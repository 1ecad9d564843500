//! A blocking client of a schema registry's Confluent-compatible API.
//!
//! Shards and projection workers are plain threads, and ask the registry once at boot and then for
//! schemas that they do not know yet; so this client blocks, with a limit on every call. It speaks
//! plain HTTP: the registry stands inside the deployment's network.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use ureq::http::StatusCode;

/// The longest that one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a question is asked that the registry fails to answer (5xx). Registries that keep their
/// schemas in a database answer so once for each pooled connection that a restart of it has cut.
const MOST_TRIES: u32 = 6;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// Where Apicurio serves Confluent's API, used when the URL has no path of its own.
const DEFAULT_PATH: &str = "/apis/ccompat/v7";
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Why the registry did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// Not reached, too slow, or failing (5xx, 429): try again later.
    #[error("schema registry {url}: {problem}")]
    Unavailable {
        /// What was called.
        url: String,
        /// What happened.
        problem: String,
    },
    /// It answered no: an incompatible or invalid schema, or a request that it does not take.
    #[error("schema registry {url}: {status} {message}")]
    Refused {
        /// What was called.
        url: String,
        /// The HTTP status; 409 is an incompatible schema.
        status: u16,
        /// The registry's words.
        message: String,
    },
    /// It answered with something that is not its API.
    #[error("schema registry {url} gave an unreadable answer: {problem}")]
    Unreadable {
        /// What was called.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
}

/// A registry. Cheap to clone; connections are pooled.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    agent: ureq::Agent,
    base: String,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
}

#[derive(Deserialize)]
struct CompatibilityAnswer {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct LevelAnswer {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    message: String,
}

impl RegistryClient {
    /// A client of the registry at `url`, for example `http://127.0.0.1:7040`. A URL with a path
    /// is taken as the API's root; one without gets Apicurio's `/apis/ccompat/v7`. Connects when
    /// first used.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let has_path = url
            .split_once("://")
            .map_or(url, |(_, rest)| rest)
            .contains('/');
        let base = if has_path {
            url.to_owned()
        } else {
            format!("{url}{DEFAULT_PATH}")
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .http_status_as_error(false)
            // It is a neighbour: what the environment says is for the way out.
            .proxy(None)
            .build()
            .new_agent();
        Self { agent, base }
    }

    /// The id under which `schema` is registered for `subject`; none when it is not.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let path = format!("/subjects/{subject}");
        let answer: Option<IdAnswer> =
            self.call("POST", &path, Some(&json!({ "schema": schema })))?;
        Ok(answer.map(|answer| answer.id))
    }

    /// The schema of an id; none when the registry does not know it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let answer: Option<SchemaAnswer> = self.call("GET", &format!("/schemas/ids/{id}"), None)?;
        Ok(answer.map(|answer| answer.schema))
    }

    /// Registers `schema` for `subject`, or finds it registered; gives its id.
    ///
    /// For the deploy step alone: services look up and never register.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::Refused`] with 409 when it is incompatible.
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let path = format!("/subjects/{subject}/versions");
        let answer: Option<IdAnswer> =
            self.call("POST", &path, Some(&json!({ "schema": schema })))?;
        answer
            .map(|answer| answer.id)
            .ok_or_else(|| self.refused(&path, 404, "no such subject"))
    }

    /// The compatibility rule set for `subject` itself; none when it follows the global one.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let answer: Option<LevelAnswer> = self.call(
            "GET",
            &format!("/config/{subject}?defaultToGlobal=false"),
            None,
        )?;
        Ok(answer.map(|answer| answer.level))
    }

    /// Sets the compatibility rule of `subject`, which need not exist yet.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let path = format!("/config/{subject}");
        let _: Option<serde_json::Value> =
            self.call("PUT", &path, Some(&json!({ "compatibility": level })))?;
        Ok(())
    }

    /// What makes `schema` incompatible with the subject's registered versions: empty when it is
    /// compatible or the subject has none.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn incompatibilities(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let path = format!("/compatibility/subjects/{subject}/versions?verbose=true");
        let answer: Option<CompatibilityAnswer> =
            self.call("POST", &path, Some(&json!({ "schema": schema })))?;
        Ok(match answer {
            None
            | Some(CompatibilityAnswer {
                is_compatible: true,
                ..
            }) => Vec::new(),
            Some(CompatibilityAnswer { messages, .. }) if messages.is_empty() => {
                vec!["the registry finds it incompatible".to_owned()]
            }
            Some(CompatibilityAnswer { messages, .. }) => messages
                .iter()
                .map(|message| message.as_str().map_or(message.to_string(), str::to_owned))
                .collect(),
        })
    }

    /// Calls the API, again where it fails for the moment: every call may be repeated. A 404 is `None`.
    fn call<T: for<'a> Deserialize<'a>>(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Option<T>, RegistryError> {
        let mut tries = 1;
        let (status, text) = loop {
            let (status, text) = self.ask(method, path, body)?;
            if !status.is_server_error() || tries == MOST_TRIES {
                break (status, text);
            }
            tries += 1;
            std::thread::sleep(PAUSE);
        };
        let url = format!("{}{path}", self.base);
        let message =
            || serde_json::from_str::<Failure>(&text).map_or_else(|_| text.clone(), |f| f.message);
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let problem = format!("{status} {}", message());
            return Err(RegistryError::Unavailable { url, problem });
        }
        if !status.is_success() {
            return Err(self.refused(path, status.as_u16(), &message()));
        }
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| RegistryError::Unreadable {
                url,
                problem: error.to_string(),
            })
    }

    /// One request; its answer, whatever it is.
    fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, String), RegistryError> {
        let url = format!("{}{path}", self.base);
        let unavailable = |problem: String| RegistryError::Unavailable {
            url: url.clone(),
            problem,
        };
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("accept", CONTENT_TYPE)
            .header("content-type", CONTENT_TYPE);
        let body = body.map(ToString::to_string).unwrap_or_default();
        let sent = match request.body(body) {
            Ok(request) => self.agent.run(request),
            Err(error) => return Err(unavailable(error.to_string())),
        };
        let mut answer = sent.map_err(|error| unavailable(error.to_string()))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string()
            .map_err(|error| unavailable(error.to_string()))?;
        Ok((status, text))
    }

    fn refused(&self, path: &str, status: u16, message: &str) -> RegistryError {
        RegistryError::Refused {
            url: format!("{}{path}", self.base),
            status,
            message: message.to_owned(),
        }
    }
}
