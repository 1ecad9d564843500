//! The repository's own declaration, schemas and documents.

use std::fs;
use std::path::PathBuf;

use cartwright_topics::topology::{self, Topology};
use cartwright_topics::{asyncapi, check};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn topology(profile: &str) -> Topology {
    let root = root();
    Topology::load(
        &root.join("topics/topics.yaml"),
        &root.join("schemas/avro"),
        profile,
    )
    .unwrap()
}

#[test]
fn the_declaration_and_the_schemas_keep_every_rule() {
    let profiles = topology::profiles(&root().join("topics/topics.yaml")).unwrap();
    assert_eq!(profiles, ["cluster", "local", "production"]);
    for profile in profiles {
        assert_eq!(
            check::offline(&topology(&profile)).unwrap(),
            Vec::<String>::new(),
            "{profile}"
        );
    }
}

#[test]
fn the_asyncapi_document_is_current() {
    let kept = fs::read_to_string(root().join("docs/asyncapi.yaml")).unwrap();
    let made = asyncapi::document(&topology("production")).unwrap();
    assert!(
        kept == made,
        "docs/asyncapi.yaml is not what the sources give: run `cartwright-topics asyncapi`"
    );
}

#[test]
fn every_reference_in_the_asyncapi_document_leads_somewhere() {
    let document = asyncapi::document(&topology("production")).unwrap();
    let document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&document).unwrap();
    let mut seen = 0;
    follow(&document, &document, &mut seen);
    assert!(seen >= 16, "{seen}");
}

/// Panics at a reference that leads nowhere.
fn follow(document: &serde_yaml_ng::Value, value: &serde_yaml_ng::Value, seen: &mut usize) {
    match value {
        serde_yaml_ng::Value::Mapping(members) => {
            for (name, value) in members {
                if name == "$ref" {
                    let path = value.as_str().unwrap();
                    let found = path
                        .trim_start_matches("#/")
                        .split('/')
                        .try_fold(document, |at, name| at.get(name));
                    assert!(found.is_some(), "{path}");
                    *seen += 1;
                }
                follow(document, value, seen);
            }
        }
        serde_yaml_ng::Value::Sequence(items) => {
            for item in items {
                follow(document, item, seen);
            }
        }
        _ => {}
    }
}
