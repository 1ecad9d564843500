//! What every declared version is, pinned: the digest of its tables, and of what its fold makes of
//! every example. A number of a version stands for one fold and one layout for ever, and nobody else
//! would notice that either has changed: rows that were written before stay as they are.
//!
//! Lines are added by hand, from what the failing test prints, and never leave.

use std::collections::{BTreeMap, BTreeSet};

use cartwright_folds::fold_of;
use cartwright_read_model::tables::OLDER;
use cartwright_read_model::{PROJECTIONS, Projection, fnv64};
use serde_json::Value as Json;

use crate::{envelope, example_texts, parse};

/// `name@version fold_version digest`.
const TABLES: &str = include_str!("tables.txt");
/// `name@version fold_version example digest digest`: of the example, and of the outcome.
const ROWS: &str = include_str!("rows.txt");

const CHANGED: &str = "Rows that were written before would not show it. Declare a new version beside \
    this one, with `version` and `fold_version` raised, leave this one as it was (tables::OLDER, FOLDS), \
    and add the lines of the new one. Only of a version that has never run anywhere may the lines be \
    replaced.";

fn declared() -> impl Iterator<Item = &'static Projection> {
    PROJECTIONS.into_iter().chain(OLDER)
}

/// What a line is about.
fn label(of: &Projection) -> String {
    format!("{}@{} {}", of.name, of.version, of.fold_version)
}

fn digest(text: &str) -> String {
    format!("{:016x}", fnv64(text.as_bytes()))
}

/// Pinned lines, with the first `keys` words as the key.
fn pinned(text: &str, keys: usize) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let (key, value) = words.split_at(keys);
        (key.join(" "), value.join(" "))
    });
    let count = text.lines().count();
    let lines: BTreeMap<String, String> = lines.collect();
    assert_eq!(lines.len(), count, "a line is there twice");
    lines
}

fn fail(problems: &[String], missing: &[String], file: &str) {
    let lines = missing.join("\n");
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("\nNot in tests/examples/{file} yet:\n{lines}"),
    };
    let fine = problems.is_empty() && missing.is_empty();
    assert!(fine, "\n{}\n{missing}\n", problems.join("\n"));
}

#[test]
fn the_tables_of_a_version_stay_as_they_were_when_it_was_declared() {
    let pinned = pinned(TABLES, 2);
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for projection in declared() {
        let (label, now) = (label(projection), projection.identity().tables);
        match pinned.get(&label) {
            Some(was) if *was == now => {}
            Some(was) => problems.push(format!(
                "{label}: the tables are not those that were pinned ({was}, now {now}). {CHANGED}"
            )),
            None => missing.push(format!("{label} {now}")),
        }
    }
    fail(&problems, &missing, "tables.txt");
}

#[test]
fn a_number_of_a_version_has_one_fold() {
    let mut folds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in TABLES.lines() {
        let mut words = line.split(' ');
        if let (Some(version), Some(fold)) = (words.next(), words.next()) {
            folds.entry(version).or_default().insert(fold);
        }
    }
    folds.retain(|_, folds| folds.len() > 1);
    assert!(
        folds.is_empty(),
        "`fold_version` was raised without `version`: {folds:?}"
    );
}

#[test]
fn a_version_makes_of_every_example_what_it_made_when_it_was_declared() {
    let pinned = pinned(ROWS, 3);
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for (name, text) in example_texts() {
        let event = parse(&name, &text);
        // As JSON, however the file is laid out.
        let json: Json = serde_json::from_str(&text).expect("JSON");
        let example = digest(&json.to_string());
        let stream = event.body.stream();
        for projection in declared().filter(|each| each.streams.contains(&stream)) {
            let fold = fold_of(projection).expect("a fold");
            let outcome = fold(&envelope(&event, 42), &event);
            let outcome = digest(&serde_json::to_string(&outcome).expect("JSON"));
            let key = format!("{} {name}", label(projection));
            let now = format!("{example} {outcome}");
            match pinned.get(&key) {
                Some(was) if *was == now => {}
                Some(was) if was.starts_with(&example) => problems.push(format!(
                    "{key}: the fold makes something else of it than it did. {CHANGED}"
                )),
                Some(_) => problems.push(format!(
                    "{key}: the example has changed. With folds that have not, its line becomes\n\
                     {key} {now}"
                )),
                None => missing.push(format!("{key} {now}")),
            }
        }
    }
    fail(&problems, &missing, "rows.txt");
}
