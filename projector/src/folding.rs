//! What one record makes of the rows: decoding and folding.
//!
//! Either may panic over one record, by a defect that no other record meets. That is a reason to put
//! this one aside, like any other, and not to stop at it.

use cartwright_event_log::Record;
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::envelope::HeaderError;
use cartwright_events::{Envelope, Event, Stream, Timestamp};
use cartwright_folds::{Fold, Outcome};

use crate::halt::Halt;
use crate::panics::caught;
use crate::plan::Plan;

const MAX_PARKED_KEY_CHARS: usize = 120;

/// The key as text; records of ours have nothing else.
pub(crate) fn key_text(record: &Record) -> String {
    let key = record.key.as_deref().unwrap_or_default();
    let text = match String::from_utf8_lossy(key) {
        text if text.contains('\0') => text.replace('\0', "\u{fffd}"),
        text => text.into_owned(),
    };
    // A store's key is neither empty nor endless. Distinct keys may come to share a name here,
    // which parks more than needed and loses nothing.
    let cut = match text.len() > MAX_PARKED_KEY_CHARS {
        true => text.char_indices().nth(MAX_PARKED_KEY_CHARS),
        false => None,
    };
    match cut {
        _ if text.is_empty() => "(no key)".to_owned(),
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// The envelope of a record of `stream`.
///
/// # Errors
/// [`HeaderError`]: a record without one was not written by a shard.
pub fn envelope(stream: Stream, record: &Record) -> Result<Envelope, HeaderError> {
    let recorded_at = Timestamp::from_micros(record.timestamp_us);
    Envelope::read(
        stream,
        record.partition,
        record.offset,
        recorded_at,
        |name| record.header(name),
    )
}

/// Why a record is put aside that no shard wrote.
pub(crate) fn foreign(error: &HeaderError) -> String {
    format!("not written by a shard: {error}")
}

/// The event in a record of `stream`; a record that makes the decoder panic is a malformed one.
///
/// # Errors
/// As [`Codec::decode_event`].
pub fn decode(codec: &Codec, stream: Stream, value: &[u8]) -> Result<Event, CodecError> {
    caught(|| codec.decode_event(stream, value)).unwrap_or_else(|panic| {
        Err(CodecError::Malformed {
            topic: stream.topic(),
            problem: format!("the decoder panicked: {panic}"),
        })
    })
}

/// What a fold makes of an event; one that makes it panic is rejected.
#[must_use]
pub fn fold(fold: Fold, envelope: &Envelope, event: &Event) -> Outcome {
    caught(|| fold(envelope, event))
        .unwrap_or_else(|panic| Outcome::Reject(format!("the fold panicked: {panic}")))
}

/// Decodes and folds.
pub(crate) fn outcome(
    plan: &Plan,
    codec: &Codec,
    envelope: &Envelope,
    record: &Record,
    key: &str,
) -> Result<Outcome, Halt> {
    if plan.keys.is_some_and(|keys| !keys.contains(key)) {
        return Ok(Outcome::Drop("not one of the keys asked for"));
    }
    let at = || format!("{} offset {}", record.topic_partition(), record.offset);
    let Some(value) = &record.value else {
        return Ok(Outcome::Reject("has no value".to_owned()));
    };
    let event = match decode(codec, envelope.stream, value) {
        Ok(event) => event,
        Err(CodecError::Malformed { problem, .. }) => {
            return Ok(Outcome::Reject(format!("malformed: {problem}")));
        }
        Err(error @ CodecError::RegistryUnavailable(_)) => {
            return Err(Halt::Wait(error.to_string()));
        }
        Err(
            error @ (CodecError::NewerWriter { .. }
            | CodecError::UnknownSchema { .. }
            | CodecError::NotRegistered { .. }),
        ) => return Err(Halt::Stop(format!("{}: {error}", at()))),
    };
    if event.aggregate_id != key {
        let id = &event.aggregate_id;
        return Ok(Outcome::Reject(format!(
            "is about {id:?}, not about its key"
        )));
    }
    Ok(fold(plan.fold, envelope, &event))
}
