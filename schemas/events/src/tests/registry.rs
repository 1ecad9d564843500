//! The codec against a registry that answers what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::registry::RegistryClient;
use crate::{Codec, CodecError, SchemaTopic, Stream};

type Answer = (u16, String);

/// A registry on a port of its own; it ends with the test's process.
struct FakeRegistry {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeRegistry {
    /// Answers `METHOD path` with what `answer` gives.
    fn start(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = serve(connection.unwrap(), &answer, &log);
            }
        });
        Self { url, asked }
    }

    fn times_asked(&self, question: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == question).count()
    }
}

fn serve(
    mut connection: TcpStream,
    answer: &impl Fn(&str) -> Answer,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let question = first.rsplit_once(' ').unwrap().0.to_owned();
    let (status, body) = answer(&question);
    log.lock().unwrap().push(question);
    write!(
        connection,
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Knows all built-in schemas, as 101 and on.
fn lookups(question: &str) -> Option<Answer> {
    let subject = question.strip_prefix("POST /apis/ccompat/v7/subjects/")?;
    let at = SchemaTopic::ALL
        .iter()
        .position(|topic| topic.subject() == subject)?;
    Some((200, format!(r#"{{"id":{}}}"#, 101 + at)))
}

fn not_found() -> Answer {
    (404, r#"{"error_code":40403,"message":"not found"}"#.into())
}

#[test]
fn ids_are_looked_up_at_boot() {
    let registry = FakeRegistry::start(|question| lookups(question).unwrap_or_else(not_found));
    let codec = Codec::connect(&registry.url).unwrap();
    assert_eq!(codec.schema_id(SchemaTopic::Events(Stream::Product)), 101);
    assert_eq!(codec.schema_id(SchemaTopic::Events(Stream::Order)), 104);
}

#[test]
fn a_schema_that_is_not_registered_stops_the_boot_by_name() {
    let registry = FakeRegistry::start(|_| not_found());
    assert_eq!(
        Codec::connect(&registry.url).unwrap_err(),
        CodecError::NotRegistered {
            subject: "catalog.product.events.v1-value".into()
        }
    );
}

#[test]
fn a_registry_that_fails_or_is_away_is_unavailable() {
    let registry = FakeRegistry::start(|_| (503, "busy".into()));
    for url in [registry.url.as_str(), "http://127.0.0.1:1"] {
        let error = Codec::connect(url).unwrap_err();
        assert!(
            matches!(error, CodecError::RegistryUnavailable(_)),
            "{error}"
        );
    }
}

#[test]
fn a_registry_that_fails_for_a_moment_is_asked_again() {
    let failures = std::cell::Cell::new(4);
    let registry = FakeRegistry::start(move |question| {
        if failures.get() > 0 {
            failures.set(failures.get() - 1);
            return (500, "a connection was closed".into());
        }
        lookups(question).unwrap_or_else(not_found)
    });
    Codec::connect(&registry.url).unwrap();
    let first = "POST /apis/ccompat/v7/subjects/catalog.product.events.v1-value";
    assert_eq!(registry.times_asked(first), 5);
}

#[test]
fn another_versions_schema_is_fetched_once_and_one_unknown_each_time() {
    let schema = SchemaTopic::Events(Stream::Product).schema().replacen(
        "aggregate's id",
        "aggregate's name",
        1,
    );
    let known = serde_json::json!({ "schema": schema }).to_string();
    let registry = FakeRegistry::start(move |question| {
        if question == "GET /apis/ccompat/v7/schemas/ids/7" {
            return (200, known.clone());
        }
        lookups(question).unwrap_or_else(not_found)
    });
    let codec = Codec::connect(&registry.url).unwrap();
    let example = include_str!("../../../avro/examples/ProductRetired.json");
    let event: crate::Event = serde_json::from_str(example).unwrap();
    let mut record = codec.encode_event(&event);
    record[4] = 7;
    for _ in 0..3 {
        assert_eq!(
            codec.decode_event(Stream::Product, &record),
            Ok(event.clone())
        );
    }
    assert_eq!(
        registry.times_asked("GET /apis/ccompat/v7/schemas/ids/7"),
        1
    );
    record[4] = 8;
    for _ in 0..2 {
        assert_eq!(
            codec.decode_event(Stream::Product, &record),
            Err(CodecError::UnknownSchema {
                topic: Stream::Product.topic(),
                id: 8
            })
        );
    }
    assert_eq!(
        registry.times_asked("GET /apis/ccompat/v7/schemas/ids/8"),
        2
    );
}

#[test]
fn a_url_with_a_path_is_taken_as_it_is() {
    let registry = FakeRegistry::start(|question| match question {
        "GET /registry/schemas/ids/1" => (200, r#"{"schema":"\"long\""}"#.into()),
        _ => not_found(),
    });
    let client = RegistryClient::new(&format!("{}/registry/", registry.url));
    assert_eq!(client.schema(1), Ok(Some("\"long\"".into())));
    assert_eq!(client.schema(2), Ok(None));
}
