//! Which changes of a schema are found incompatible, and which are not.

use cartwright_topics::compatibility::problems;
use serde_json::{Value, json};

fn thing() -> Value {
    json!({
        "type": "record", "name": "ThingEvent", "namespace": "cartwright.thing",
        "fields": [
            { "name": "aggregate_id", "type": "string" },
            { "name": "thing_made", "default": null, "type": ["null", {
                "type": "record", "name": "ThingMade", "fields": [
                    { "name": "size", "type": "long" },
                    { "name": "colour", "type": ["null", "string"], "default": null },
                    { "name": "made_at", "type":
                        { "type": "long", "logicalType": "timestamp-micros" } },
                    { "name": "parts", "type": { "type": "array", "items": {
                        "type": "record", "name": "Part", "fields": [
                            { "name": "weight", "type": "long" }
                        ] } } }
                ] }] },
            { "name": "thing_broken", "default": null, "type": ["null", {
                "type": "record", "name": "ThingBroken", "fields": [
                    { "name": "spare", "type": ["null", "Part"], "default": null }
                ] }] }
        ]
    })
}

fn fields(record: &mut Value) -> &mut Vec<Value> {
    record["fields"].as_array_mut().unwrap()
}

fn made(schema: &mut Value) -> &mut Value {
    &mut schema["fields"][1]["type"][1]
}

/// What is found between the schema and a changed one, in either order.
fn found(change: impl Fn(&mut Value)) -> (Vec<String>, Vec<String>) {
    let kept = thing();
    let mut current = thing();
    change(&mut current);
    assert_ne!(kept, current);
    let (kept, current) = (kept.to_string(), current.to_string());
    (problems(&kept, &current), problems(&current, &kept))
}

#[track_caller]
fn is_compatible(change: impl Fn(&mut Value)) {
    assert_eq!(found(change).0, Vec::<String>::new());
}

#[track_caller]
fn is_incompatible(words: &str, change: impl Fn(&mut Value)) {
    let (found, _) = found(change);
    assert!(
        found.iter().any(|problem| problem.contains(words)),
        "{found:?} does not say {words:?}"
    );
}

#[test]
fn a_schema_is_compatible_with_itself() {
    assert_eq!(
        problems(&thing().to_string(), &thing().to_string()),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_optional_may_be_added() {
    is_compatible(|schema| {
        fields(made(schema))
            .push(json!({ "name": "note", "type": ["null", "string"], "default": null }));
    });
    is_compatible(|schema| {
        fields(schema).push(
            json!({ "name": "thing_sold", "default": null, "type": ["null",
            { "type": "record", "name": "ThingSold", "fields": [] }] }),
        );
    });
    is_compatible(|schema| {
        fields(made(schema)).push(json!({ "name": "count", "type": "long", "default": 1 }));
    });
}

#[test]
fn words_may_change_and_fields_may_move() {
    is_compatible(|schema| made(schema)["doc"] = "It was made.".into());
    is_compatible(|schema| fields(made(schema)).swap(0, 1));
}

#[test]
fn an_optional_field_may_go_but_not_a_required_one() {
    is_compatible(|schema| {
        fields(made(schema)).remove(1);
    });
    is_incompatible("thing_made.size was removed and has no default", |schema| {
        fields(made(schema)).remove(0);
    });
}

#[test]
fn a_field_without_a_default_may_not_be_added() {
    is_incompatible("thing_made.weight was added without a default", |schema| {
        fields(made(schema)).push(json!({ "name": "weight", "type": "long" }));
    });
}

#[test]
fn a_branch_may_neither_go_nor_be_renamed() {
    is_incompatible("thing_broken was removed or renamed", |schema| {
        fields(schema).remove(2);
    });
    is_incompatible("thing_broken was removed or renamed", |schema| {
        schema["fields"][2]["name"] = "thing_smashed".into();
    });
}

#[test]
fn a_record_may_not_be_renamed() {
    is_incompatible("thing_broken", |schema| {
        schema["fields"][2]["type"][1]["name"] = "ThingSmashed".into();
    });
    is_incompatible("cartwright.other.ThingEvent", |schema| {
        schema["namespace"] = "cartwright.other".into();
    });
}

#[test]
fn a_type_may_not_change_not_even_where_avro_promotes() {
    is_incompatible("thing_made.size is String, was Long", |schema| {
        made(schema)["fields"][0]["type"] = "string".into();
    });
    is_incompatible("thing_made.size is Double, was Long", |schema| {
        made(schema)["fields"][0]["type"] = "double".into();
    });
    is_incompatible("thing_made.size is Int, was Long", |schema| {
        made(schema)["fields"][0]["type"] = "int".into();
    });
    is_incompatible("thing_made.parts[].weight is String, was Long", |schema| {
        made(schema)["fields"][3]["type"]["items"]["fields"][0]["type"] = "string".into();
    });
}

#[test]
fn a_moment_may_not_become_a_number() {
    is_incompatible(
        "thing_made.made_at is Long, was TimestampMicros",
        |schema| {
            made(schema)["fields"][2]["type"] = "long".into();
        },
    );
    is_incompatible("thing_made.made_at is TimestampMillis", |schema| {
        made(schema)["fields"][2]["type"]["logicalType"] = "timestamp-millis".into();
    });
}

#[test]
fn required_and_optional_may_not_change_places() {
    is_incompatible("thing_made.size is Union, was Long", |schema| {
        made(schema)["fields"][0]["type"] = json!(["null", "long"]);
    });
    is_incompatible("thing_made.colour is String, was Union", |schema| {
        let colour = &mut made(schema)["fields"][1];
        *colour = json!({ "name": "colour", "type": "string" });
    });
}

#[test]
fn a_default_may_not_change() {
    let with_count = |default: i64| {
        let mut schema = thing();
        fields(made(&mut schema))
            .push(json!({ "name": "count", "type": "long", "default": default }));
        schema.to_string()
    };
    let found = problems(&with_count(1), &with_count(2));
    assert_eq!(found, ["the default of thing_made.count has changed"]);
}

#[test]
fn what_is_incompatible_one_way_is_so_the_other_way() {
    let (one, other) = found(|schema| {
        made(schema)["fields"][0]["type"] = "int".into();
    });
    assert!(!one.is_empty() && !other.is_empty());
}

#[test]
fn what_is_no_schema_is_said_so() {
    let found = problems("{}", &thing().to_string());
    assert!(found[0].starts_with("is no Avro schema"), "{found:?}");
}
