//! What holds for every value and for every sequence of bytes.

use apache_avro::{from_avro_datum, to_avro_datum};
use proptest::prelude::*;

use super::avro;
use super::generated::{Generated, any_event, event};
use crate::journal::JournalRecord;
use crate::wire::{DecodeError, Wire};
use crate::{Codec, CodecError, Context, Event, Message, SchemaTopic, Stream};

/// Our bytes and a general-purpose library's are the same, both ways.
fn agrees_with_avro(
    topic: SchemaTopic,
    ours: &[u8],
    json: &serde_json::Value,
) -> Result<(), TestCaseError> {
    let schema = avro::schema(topic);
    let value = avro::value(schema, json);
    prop_assert_eq!(&to_avro_datum(schema, value.clone()).unwrap(), ours);
    prop_assert_eq!(
        from_avro_datum(schema, &mut &ours[..], None).unwrap(),
        value
    );
    Ok(())
}

proptest! {
    #[test]
    fn an_event_is_read_as_it_was_written(event in any_event()) {
        let bytes = event.encode();
        prop_assert_eq!(Event::decode(event.body.stream(), &bytes), Ok(event.clone()));
        let codec = Codec::fixed();
        let record = codec.encode_event(&event);
        prop_assert_eq!(codec.decode_event(event.body.stream(), &record), Ok(event));
    }

    #[test]
    fn an_event_is_the_same_after_json(event in any_event()) {
        let json = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn an_event_has_the_bytes_that_the_schema_gives_it(event in any_event()) {
        let topic = SchemaTopic::Events(event.body.stream());
        agrees_with_avro(topic, &event.encode(), &avro::flat_event(&event))?;
    }

    #[test]
    fn a_message_is_read_as_written_with_the_bytes_of_the_schema(message in Message::generated()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let topic = SchemaTopic::Inbox(Context::Inventory);
        agrees_with_avro(topic, &bytes, &avro::flat_message(&message))?;
        let codec = Codec::fixed();
        let record = codec.encode_message(Context::Inventory, &message);
        prop_assert_eq!(codec.decode_message(Context::Inventory, &record), Ok(message));
    }

    #[test]
    fn a_journal_record_is_read_as_written_with_the_bytes_of_the_schema(
        journal in JournalRecord::generated()
    ) {
        let mut bytes = Vec::new();
        journal.encode(&mut bytes);
        let topic = SchemaTopic::Journal(Context::Checkout);
        agrees_with_avro(topic, &bytes, &serde_json::to_value(&journal).unwrap())?;
        let codec = Codec::fixed();
        let record = codec.encode_journal(Context::Checkout, &journal);
        prop_assert_eq!(codec.decode_journal(Context::Checkout, &record), Ok(journal));
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error(event in any_event(), journal in JournalRecord::generated()) {
        let codec = Codec::fixed();
        let record = codec.encode_event(&event);
        for end in 0..record.len() {
            let cut = codec.decode_event(event.body.stream(), &record[..end]);
            prop_assert!(matches!(cut, Err(CodecError::Malformed { .. })), "{end}: {cut:?}");
        }
        let record = codec.encode_journal(Context::Catalog, &journal);
        for end in 0..record.len() {
            prop_assert!(codec.decode_journal(Context::Catalog, &record[..end]).is_err());
        }
    }

    #[test]
    fn a_record_with_bytes_after_it_is_an_error(event in any_event(), more in 1usize..9) {
        let mut bytes = event.encode();
        bytes.extend(std::iter::repeat_n(0, more));
        prop_assert_eq!(
            Event::decode(event.body.stream(), &bytes),
            Err(DecodeError::TrailingBytes(more))
        );
    }

    #[test]
    fn no_bytes_make_the_codec_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let codec = Codec::fixed();
        for framed in [false, true] {
            if framed && bytes.len() >= 5 {
                bytes[..4].fill(0);
            }
            for topic in SchemaTopic::ALL {
                if framed && bytes.len() >= 5 {
                    bytes[4] = codec.schema_id(topic) as u8;
                }
                match topic {
                    SchemaTopic::Events(stream) => {
                        let _ = codec.decode_event(stream, &bytes);
                    }
                    SchemaTopic::Inbox(context) => {
                        let _ = codec.decode_message(context, &bytes);
                    }
                    SchemaTopic::Journal(context) => {
                        let _ = codec.decode_journal(context, &bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn no_changed_byte_makes_the_codec_panic(
        event in any_event(), at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = event.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // Another value may come out, but what comes out can be written again.
        if let Ok(read) = Event::decode(event.body.stream(), &bytes) {
            prop_assert_eq!(Event::decode(event.body.stream(), &read.encode()), Ok(read));
        }
    }

    #[test]
    fn an_event_with_two_branches_is_malformed(
        (one, two) in proptest::strategy::Union::new(
            Stream::ALL.map(|stream| (event(stream), event(stream)).boxed())
        )
            .prop_filter("of two types", |(one, two)| one.body.type_name() != two.body.type_name())
    ) {
        let stream = one.body.stream();
        let mut json = avro::flat_event(&one);
        for (key, value) in avro::flat_event(&two).as_object().unwrap() {
            if value.is_object() {
                json[key] = value.clone();
            }
        }
        let schema = avro::schema(SchemaTopic::Events(stream));
        let body = to_avro_datum(schema, avro::value(schema, &json)).unwrap();
        prop_assert_eq!(Event::decode(stream, &body), Err(DecodeError::ManyBranches));
        let record = framed(stream, &body);
        let read = Codec::fixed().decode_event(stream, &record);
        prop_assert!(matches!(read, Err(CodecError::Malformed { .. })), "{read:?}");
    }
}

fn framed(stream: Stream, body: &[u8]) -> Vec<u8> {
    let id = Codec::fixed().schema_id(SchemaTopic::Events(stream));
    let mut record = crate::framing::start(id, body.len());
    record.extend_from_slice(body);
    record
}

#[test]
fn an_event_without_a_branch_is_from_a_newer_writer() {
    for stream in Stream::ALL {
        let mut body = vec![2, b'a', 2, 0];
        body.extend(std::iter::repeat_n(0, avro::type_names(stream).len()));
        let read = Codec::fixed().decode_event(stream, &framed(stream, &body));
        assert_eq!(
            read,
            Err(CodecError::NewerWriter {
                topic: stream.topic(),
                problem: DecodeError::NoBranch
            })
        );
    }
}

#[test]
fn an_unknown_word_is_from_a_newer_writer() {
    let json = serde_json::json!({
        "aggregate_id": "a", "version": 1, "occurred_at": "2011-01-31T09:30:00Z",
        "type": "OrderCancelled",
        "data": { "reason": "requested", "reference": null, "note": null, "refund_due_minor": 0 }
    });
    let event: Event = serde_json::from_value(json).unwrap();
    let mut json = avro::flat_event(&event);
    json["order_cancelled"]["reason"] = "struck_by_lightning".into();
    let schema = avro::schema(SchemaTopic::Events(Stream::Order));
    let body = to_avro_datum(schema, avro::value(schema, &json)).unwrap();
    let read = Codec::fixed().decode_event(Stream::Order, &framed(Stream::Order, &body));
    assert!(
        matches!(read, Err(CodecError::NewerWriter { .. })),
        "{read:?}"
    );
}

#[test]
fn branches_are_the_types_in_order() {
    for stream in Stream::ALL {
        let json: serde_json::Value =
            serde_json::from_str(SchemaTopic::Events(stream).schema()).unwrap();
        let fields: Vec<_> = json["fields"].as_array().unwrap()[3..]
            .iter()
            .map(|field| field["name"].as_str().unwrap().to_owned())
            .collect();
        let types: Vec<_> = avro::type_names(stream)
            .iter()
            .map(|name| avro::branch_name(name))
            .collect();
        assert_eq!(fields, types);
    }
}
