//! The examples of the contract and the kept records of every schema version.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::avro;
use crate::{Codec, Context, Event, Message, SchemaTopic, Stream};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../avro")
        .join(name)
}

fn event(path: &Path) -> Event {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files in a folder, sorted, with what their names are without the extension.
fn files(folder: &Path, extension: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (stem, path)
        })
        .collect();
    found.sort();
    found
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2));
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn every_event_type_has_an_example_that_is_written_and_read() {
    let examples = files(&folder("examples"), "json");
    let codec = Codec::fixed();
    for (name, path) in &examples {
        let event = event(path);
        assert_eq!(event.body.type_name(), name, "{}", path.display());
        let record = codec.encode_event(&event);
        assert_eq!(codec.decode_event(event.body.stream(), &record), Ok(event));
    }
    let named: BTreeSet<_> = examples.iter().map(|(name, _)| name.as_str()).collect();
    let types: BTreeSet<_> = Stream::ALL
        .into_iter()
        .flat_map(avro::type_names)
        .copied()
        .collect();
    assert_eq!(named, types);
}

/// Every kind of internal record has an example too.
#[test]
fn every_message_type_and_the_journal_have_an_example() {
    let names = |topic: SchemaTopic| -> BTreeSet<String> {
        let found = files(&folder("examples").join(topic.schema_name()), "json");
        found.into_iter().map(|(name, _)| name).collect()
    };
    let messages = Message::TYPE_NAMES.iter().map(|&name| name.to_owned());
    assert_eq!(
        names(SchemaTopic::Inbox(Context::Checkout)),
        messages.collect()
    );
    assert_eq!(names(SchemaTopic::Journal(Context::Checkout)).len(), 1);
}

/// Reads a record and gives it as it is written today.
fn read_and_write(codec: &Codec, topic: SchemaTopic, record: &[u8]) -> Vec<u8> {
    let json = match topic {
        SchemaTopic::Events(stream) => {
            serde_json::to_string(&codec.decode_event(stream, record).unwrap())
        }
        SchemaTopic::Inbox(context) => {
            serde_json::to_string(&codec.decode_message(context, record).unwrap())
        }
        SchemaTopic::Journal(context) => {
            serde_json::to_string(&codec.decode_journal(context, record).unwrap())
        }
    };
    topic.encode_json(&json.unwrap()).unwrap()
}

/// What was written under any kept version is still read, and means what it meant.
#[test]
fn the_records_of_every_kept_version_are_read() {
    for topic in SchemaTopic::ALL {
        let versions = files(&folder("versions").join(topic.schema_name()), "avsc");
        assert!(!versions.is_empty(), "{}", topic.schema_name());
        for (version, schema) in versions {
            const WRITER_ID: u32 = 1000;
            let codec = Codec::in_memory([(WRITER_ID, fs::read_to_string(schema).unwrap())]);
            let golden = folder("golden").join(topic.schema_name()).join(&version);
            let records = files(&golden, "hex");
            assert!(!records.is_empty(), "{}", golden.display());
            for (_, path) in records {
                let mut record = crate::framing::start(WRITER_ID, 0);
                record.extend(unhex(&fs::read_to_string(&path).unwrap()));
                let json = fs::read_to_string(path.with_extension("json")).unwrap();
                let meant = topic.encode_json(&json).unwrap();
                let read = read_and_write(&codec, topic, &record);
                assert_eq!(read, meant, "{}", path.display());
            }
        }
    }
}

/// The bytes of the newest version are the bytes that are written today.
#[test]
fn the_records_of_the_newest_version_are_written_as_they_were() {
    for topic in SchemaTopic::ALL {
        let versions = files(&folder("versions").join(topic.schema_name()), "avsc");
        let newest = versions
            .iter()
            .max_by_key(|(version, _)| version.parse::<u32>().unwrap())
            .unwrap();
        assert_eq!(
            fs::read_to_string(&newest.1).unwrap(),
            topic.schema(),
            "the schema has changed: keep it with `cartwright-topics keep`"
        );
        let golden = folder("golden").join(topic.schema_name()).join(&newest.0);
        for (_, path) in files(&golden, "hex") {
            let kept = unhex(&fs::read_to_string(&path).unwrap());
            let json = fs::read_to_string(path.with_extension("json")).unwrap();
            let written = topic.encode_json(&json).unwrap();
            assert_eq!(written, kept, "{}", path.display());
        }
    }
}
