//! Records as they lie in Kafka: values to framed bytes and back.
//!
//! What is written is always the built-in schema. What is read is either that (by its id: the fast
//! path) or another version, which then takes the steps that lead from it (`upcast`)
//! and is resolved to the built-in one by Avro's rules.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use apache_avro::Schema;
use thiserror::Error;

use crate::event::Event;
use crate::framing;
use crate::journal::JournalRecord;
use crate::messages::Message;
use crate::registry::{RegistryClient, RegistryError};
use crate::schema_book::SchemaTopic;
use crate::streams::{Context, Stream};
use crate::upcast::{self, UPCASTERS, Upcasters};
use crate::wire::{DecodeError, Wire};

/// The most writers' schemas that are kept, over all topics.
const MAX_WRITER_SCHEMAS: usize = 256;
/// The most that the Avro library may take at once for a length that a record claims, in bytes.
const MAX_ALLOCATION_BYTES: usize = 16 * 1024 * 1024;

/// Why a record cannot be read, by what its reader must do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Written by a newer version that says what this one does not know. **Stop**: skipping or
    /// parking it would lose a fact; deploy the newer reader.
    #[error("{topic}: {problem}; a newer version wrote it")]
    NewerWriter {
        /// The topic.
        topic: &'static str,
        /// What is unknown.
        problem: DecodeError,
    },
    /// No version would read it. **Park** it.
    #[error("{topic}: malformed record: {problem}")]
    Malformed {
        /// The topic.
        topic: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The registry answered that it does not know the schema that the record names. **Stop**, or
    /// park where others may write to the topic: nobody can read it until the schema is back.
    #[error("{topic}: schema {id} is unknown to the registry")]
    UnknownSchema {
        /// The topic.
        topic: &'static str,
        /// The schema's id.
        id: u32,
    },
    /// The registry could not be asked. **Retry** with a backoff.
    #[error(transparent)]
    RegistryUnavailable(RegistryError),
    /// At boot: the built-in schema is not registered; the deploy step has not run.
    #[error("subject {subject} does not hold this version's schema; run `cartwright-topics apply`")]
    NotRegistered {
        /// The subject.
        subject: String,
    },
}

/// Encodes and decodes the records of every topic that has a schema. Cheap to clone.
///
/// Decoding may block for one call to the registry, when a record names a schema for the first
/// time; every call has a limit of five seconds.
#[derive(Debug, Clone)]
pub struct Codec(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Per topic, in the order of [`SchemaTopic::ALL`].
    built_in: Vec<BuiltIn>,
    source: Source,
    upcasters: Upcasters,
    writers: RwLock<HashMap<(SchemaTopic, u32), Writer>>,
}

#[derive(Debug)]
struct BuiltIn {
    id: u32,
    schema: Schema,
}

/// Where schemas of other versions come from.
#[derive(Debug)]
enum Source {
    Registry(RegistryClient),
    Memory(HashMap<u32, String>),
}

/// Another version's schema, against the built-in one of the topic.
#[derive(Debug, Clone)]
enum Writer {
    /// It lays records out alike (documentation or defaults differ): no resolution needed.
    SameLayout,
    Resolved(Arc<Older>),
}

/// How records of another layout are read.
#[derive(Debug)]
struct Older {
    schema: Schema,
    steps: upcast::Path,
}

impl Codec {
    /// A codec with made-up ids (1 to 10, in the order of [`SchemaTopic::ALL`]) and no registry:
    /// for tests and simulation.
    #[must_use]
    pub fn fixed() -> Codec {
        // Parsing the schemas takes milliseconds, and a simulation makes many codecs.
        static FIXED: LazyLock<Codec> = LazyLock::new(|| Codec::in_memory([]));
        FIXED.clone()
    }

    /// [`Codec::fixed`] which also reads what the given schemas wrote, by id.
    #[must_use]
    pub fn in_memory(writers: impl IntoIterator<Item = (u32, String)>) -> Codec {
        let ids = |topic: SchemaTopic| Ok(topic.index() as u32 + 1);
        let source = Source::Memory(writers.into_iter().collect());
        match Codec::build(source, UPCASTERS, ids) {
            Ok(codec) => codec,
            Err(error) => unreachable!("made-up ids never fail: {error}"),
        }
    }

    /// [`Codec::in_memory`] with steps of a test's own.
    #[cfg(test)]
    pub(crate) fn with_upcasters(
        writers: impl IntoIterator<Item = (u32, String)>,
        upcasters: Upcasters,
    ) -> Codec {
        let source = Source::Memory(writers.into_iter().collect());
        Codec::build(source, upcasters, |topic| Ok(topic.index() as u32 + 1)).unwrap()
    }

    /// A codec that takes its ids from the registry at `registry_url` now, and other versions'
    /// schemas when they are met. Looks up, never registers. Blocks: about ten short calls.
    ///
    /// # Errors
    /// [`CodecError::NotRegistered`] when the deploy step has not run,
    /// [`CodecError::RegistryUnavailable`] when the registry does not answer (try again).
    pub fn connect(registry_url: &str) -> Result<Codec, CodecError> {
        let client = RegistryClient::new(registry_url);
        let asked = client.clone();
        Codec::build(Source::Registry(client), UPCASTERS, |topic| {
            let subject = topic.subject();
            asked
                .lookup(&subject, topic.schema())
                .map_err(CodecError::RegistryUnavailable)?
                .ok_or(CodecError::NotRegistered { subject })
        })
    }

    fn build(
        source: Source,
        upcasters: Upcasters,
        id_of: impl Fn(SchemaTopic) -> Result<u32, CodecError>,
    ) -> Result<Codec, CodecError> {
        // For the whole process; the first call wins.
        apache_avro::util::max_allocation_bytes(MAX_ALLOCATION_BYTES);
        let built_in = SchemaTopic::ALL
            .into_iter()
            .map(|topic| {
                let id = id_of(topic)?;
                let schema = Schema::parse_str(topic.schema())
                    .map_err(|error| malformed(topic, error.to_string()))?;
                Ok(BuiltIn { id, schema })
            })
            .collect::<Result<Vec<_>, CodecError>>()?;
        Ok(Codec(Arc::new(Inner {
            built_in,
            source,
            upcasters,
            writers: RwLock::default(),
        })))
    }

    /// The id of the built-in schema of `topic`.
    #[must_use]
    pub fn schema_id(&self, topic: SchemaTopic) -> u32 {
        self.built_in(topic).id
    }

    /// The record's value of an event, for its stream's topic.
    #[must_use]
    pub fn encode_event(&self, event: &Event) -> Vec<u8> {
        let topic = SchemaTopic::Events(event.body.stream());
        let mut out = framing::start(self.schema_id(topic), 160);
        event.encode_into(&mut out);
        out
    }

    /// Reads the value of a record of `stream`'s topic.
    ///
    /// # Errors
    /// [`CodecError`] says what its reader must do.
    pub fn decode_event(&self, stream: Stream, record: &[u8]) -> Result<Event, CodecError> {
        let topic = SchemaTopic::Events(stream);
        let body = self.body(topic, record)?;
        Event::decode(stream, &body).map_err(|problem| classify(topic, problem))
    }

    /// The record's value of a message to a shard of `context`.
    #[must_use]
    pub fn encode_message(&self, context: Context, message: &Message) -> Vec<u8> {
        self.encode(SchemaTopic::Inbox(context), message)
    }

    /// Reads the value of a record of `context`'s inbox.
    ///
    /// # Errors
    /// [`CodecError`] says what its reader must do.
    pub fn decode_message(&self, context: Context, record: &[u8]) -> Result<Message, CodecError> {
        self.decode(SchemaTopic::Inbox(context), record)
    }

    /// The record's value of a transaction of a shard of `context`.
    #[must_use]
    pub fn encode_journal(&self, context: Context, journal: &JournalRecord) -> Vec<u8> {
        self.encode(SchemaTopic::Journal(context), journal)
    }

    /// Reads the value of a record of `context`'s journal.
    ///
    /// # Errors
    /// [`CodecError`] says what its reader must do.
    pub fn decode_journal(
        &self,
        context: Context,
        record: &[u8],
    ) -> Result<JournalRecord, CodecError> {
        self.decode(SchemaTopic::Journal(context), record)
    }

    fn encode<T: Wire>(&self, topic: SchemaTopic, value: &T) -> Vec<u8> {
        let mut out = framing::start(self.schema_id(topic), 160);
        value.encode(&mut out);
        out
    }

    fn decode<T: Wire>(&self, topic: SchemaTopic, record: &[u8]) -> Result<T, CodecError> {
        let body = self.body(topic, record)?;
        T::decode_all(&body).map_err(|problem| classify(topic, problem))
    }

    fn built_in(&self, topic: SchemaTopic) -> &BuiltIn {
        &self.0.built_in[topic.index()]
    }

    /// The record's body as the built-in schema lays it out.
    fn body<'a>(&self, topic: SchemaTopic, record: &'a [u8]) -> Result<Cow<'a, [u8]>, CodecError> {
        let (id, body) =
            framing::split(record).map_err(|error| malformed(topic, error.to_string()))?;
        let built_in = self.built_in(topic);
        if id == built_in.id {
            return Ok(Cow::Borrowed(body));
        }
        match self.writer(topic, id)? {
            Writer::SameLayout => Ok(Cow::Borrowed(body)),
            Writer::Resolved(writer) => resolve(&writer, &built_in.schema, body)
                .map(Cow::Owned)
                .map_err(|problem| malformed(topic, problem)),
        }
    }

    fn writer(&self, topic: SchemaTopic, id: u32) -> Result<Writer, CodecError> {
        let known = |writers: &HashMap<_, Writer>| writers.get(&(topic, id)).cloned();
        let writers = &self.0.writers;
        if let Some(writer) = known(&writers.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(writer);
        }
        // Asked outside the lock: two threads may ask twice, none waits for another's call.
        let text = match &self.0.source {
            Source::Memory(schemas) => schemas.get(&id).cloned(),
            Source::Registry(client) => {
                client.schema(id).map_err(CodecError::RegistryUnavailable)?
            }
        }
        .ok_or(CodecError::UnknownSchema {
            topic: topic.topic(),
            id,
        })?;
        let upcasters = &self.0.upcasters;
        let writer = compare(&text, topic, &self.built_in(topic).schema, upcasters)
            .map_err(|problem| malformed(topic, format!("schema {id}: {problem}")))?;
        let mut cached = writers.write().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= MAX_WRITER_SCHEMAS {
            cached.clear();
        }
        cached.insert((topic, id), writer.clone());
        Ok(writer)
    }
}

/// How a writer's schema stands to the built-in one.
fn compare(
    writer: &str,
    topic: SchemaTopic,
    reader: &Schema,
    upcasters: &Upcasters,
) -> Result<Writer, String> {
    let writer = Schema::parse_str(writer).map_err(|error| error.to_string())?;
    // Resolution goes by field names alone, and all branches are optional: without this, a record
    // of another topic would read as one with no branch.
    if writer.name() != reader.name() {
        let name = |schema: &Schema| schema.name().map(|name| name.fullname(None));
        return Err(format!(
            "is of {:?}, not of {:?}",
            name(&writer),
            name(reader)
        ));
    }
    if writer.canonical_form() == reader.canonical_form() {
        return Ok(Writer::SameLayout);
    }
    let steps = upcasters.path(topic.schema_name(), &writer)?;
    Ok(Writer::Resolved(Arc::new(Older {
        schema: writer,
        steps,
    })))
}

/// Rewrites a body from the writer's layout to the reader's.
fn resolve(writer: &Older, reader: &Schema, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut input = WatchedInput {
        left: body,
        was_short: false,
    };
    let written = apache_avro::from_avro_datum(&writer.schema, &mut input, None)
        .map_err(|error| error.to_string())?;
    if input.was_short {
        return Err(DecodeError::Truncated.to_string());
    }
    if !input.left.is_empty() {
        return Err(DecodeError::TrailingBytes(input.left.len()).to_string());
    }
    let value = writer.steps.up(written)?;
    let value = value.resolve(reader).map_err(|error| error.to_string())?;
    apache_avro::to_avro_datum(reader, value).map_err(|error| error.to_string())
}

/// Remembers that more was wanted than there was: the Avro library takes the end of the input for
/// null where a union begins, and a record that was cut off would lose its last fields unseen.
struct WatchedInput<'a> {
    left: &'a [u8],
    was_short: bool,
}

impl Read for WatchedInput<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.was_short |= self.left.is_empty() && !into.is_empty();
        self.left.read(into)
    }
}

fn malformed(topic: SchemaTopic, problem: String) -> CodecError {
    CodecError::Malformed {
        topic: topic.topic(),
        problem,
    }
}

fn classify(topic: SchemaTopic, problem: DecodeError) -> CodecError {
    match problem {
        DecodeError::NoBranch | DecodeError::UnknownWord { .. } => CodecError::NewerWriter {
            topic: topic.topic(),
            problem,
        },
        other => malformed(topic, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ProductRetired;

    #[test]
    fn the_fixed_codec_reads_what_it_wrote() {
        let codec = Codec::fixed();
        let event = Event {
            aggregate_id: "SKU-1".into(),
            version: 3,
            occurred_at: crate::Timestamp::from_micros(1),
            body: crate::EventBody::Product(
                ProductRetired {
                    price_minor: 5,
                    currency: "GBP".parse().unwrap(),
                }
                .into(),
            ),
        };
        let bytes = codec.encode_event(&event);
        assert_eq!(codec.decode_event(Stream::Product, &bytes), Ok(event));
        assert_eq!(
            codec.decode_event(Stream::Product, &[0, 0, 0, 0, 99, 1]),
            Err(CodecError::UnknownSchema {
                topic: "catalog.product.events.v1",
                id: 99
            })
        );
    }
}
