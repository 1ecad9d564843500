//! Steps from older versions: a schema with a past that the shop's own do not have, and what its
//! versions wrote, byte for byte.

use apache_avro::types::Value;

use crate::catalog::ProductRetired;
use crate::schema_book::SchemaTopic;
use crate::upcast::{Kept, STEPS, Step, UPCASTERS, Upcasters};
use crate::{Codec, CodecError, Event, EventBody, Stream, Timestamp};

const SCHEMA: &str = "catalog.product.events.v1";
const OTHER_ID: u32 = 77;
const ONE: &str = include_str!("1.avsc");
const TWO: &str = include_str!("2.avsc");

static PAST: Upcasters = Upcasters {
    steps: &[
        // Not in their order: the version says which comes first.
        Step {
            schema: SCHEMA,
            from: 2,
            up: currency_has_its_name,
        },
        Step {
            schema: SCHEMA,
            from: 1,
            up: price_is_a_number,
        },
    ],
    kept: &[
        Kept {
            schema: SCHEMA,
            version: 1,
            text: ONE,
        },
        Kept {
            schema: SCHEMA,
            version: 2,
            text: TWO,
        },
    ],
};

/// Version 1 wrote `12.50 GBP`.
fn price_is_a_number(record: Value) -> Result<Value, String> {
    in_branch(record, |fields| {
        let price = fields.iter().find(|(name, _)| name == "price");
        let Some((_, Value::String(price))) = price else {
            return Err("no price".to_owned());
        };
        let (amount, currency) = price.split_once(' ').ok_or("no currency")?;
        let minor = amount.replace('.', "").parse();
        let minor: i64 = minor.map_err(|_| format!("{amount:?} is no amount"))?;
        Ok(vec![
            ("price_minor".to_owned(), Value::Long(minor)),
            ("currency_code".to_owned(), Value::String(currency.into())),
        ])
    })
}

/// Version 2 called it `currency_code`.
fn currency_has_its_name(record: Value) -> Result<Value, String> {
    in_branch(record, |mut fields| {
        for (name, _) in &mut fields {
            if name == "currency_code" {
                *name = "currency".to_owned();
            }
        }
        Ok(fields)
    })
}

type Fields = Vec<(String, Value)>;

/// Changes the fields of the branch `product_retired`.
fn in_branch(
    record: Value,
    change: impl FnOnce(Fields) -> Result<Fields, String>,
) -> Result<Value, String> {
    let Value::Record(mut fields) = record else {
        return Err("no record".to_owned());
    };
    let mut change = Some(change);
    for (name, value) in &mut fields {
        if name == "product_retired"
            && let Value::Union(branch, inner) = value
            && let Value::Record(body) = &**inner
            && let Some(change) = change.take()
        {
            *value = Value::Union(*branch, Box::new(Value::Record(change(body.clone())?)));
        }
    }
    Ok(Value::Record(fields))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.trim().chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

fn read(schema: &str, golden: &str) -> Result<Event, CodecError> {
    let codec = Codec::with_upcasters([(OTHER_ID, schema.to_owned())], PAST);
    let mut record = crate::framing::start(OTHER_ID, 0);
    record.extend(bytes(golden));
    codec.decode_event(Stream::Product, &record)
}

#[test]
fn what_each_version_wrote_reads_as_the_newest_says_it() {
    let expected = Event {
        aggregate_id: "SKU-1".into(),
        version: 3,
        occurred_at: Timestamp::from_micros(1),
        body: EventBody::Product(
            ProductRetired {
                price_minor: 1_250,
                currency: "GBP".parse().unwrap(),
            }
            .into(),
        ),
    };
    assert_eq!(read(ONE, include_str!("1.hex")), Ok(expected.clone()));
    assert_eq!(read(TWO, include_str!("2.hex")), Ok(expected.clone()));
    let newest = Codec::with_upcasters([], PAST);
    let record = newest.encode_event(&expected);
    assert_eq!(newest.decode_event(Stream::Product, &record), Ok(expected));
}

#[test]
fn a_record_that_a_step_cannot_take_is_malformed() {
    // 12.50 GBP with the space gone.
    let golden = include_str!("1.hex").replace("2047", "2d47");
    let error = read(ONE, &golden).unwrap_err();
    let CodecError::Malformed { problem, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(problem, "no currency");
}

#[test]
fn every_step_is_between_versions_that_are_kept_and_none_is_there_twice() {
    for (index, step) in STEPS.iter().enumerate() {
        let kept = UPCASTERS.kept.iter();
        let mut kept = kept.filter(|kept| kept.schema == step.schema);
        assert!(kept.any(|kept| kept.version == step.from), "{step:?}");
        let twice = |other: &Step| (other.schema, other.from) == (step.schema, step.from);
        assert!(!STEPS[..index].iter().any(twice), "{step:?}");
        let known = SchemaTopic::ALL.map(SchemaTopic::schema_name);
        assert!(known.contains(&step.schema), "{step:?}");
    }
    for kept in UPCASTERS.kept {
        let (schema, version) = (kept.schema, kept.version);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../avro/versions");
        let file = format!("{folder}/{schema}/{version}.avsc");
        assert_eq!(std::fs::read_to_string(file).unwrap(), kept.text);
    }
}
