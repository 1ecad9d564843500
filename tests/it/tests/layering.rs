//! The layers, held by what cargo says of the workspace, who may depend on whom, and by what sources name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Own crates that each layer may use; anything else of the workspace is a breach.
const MAY_USE: &[(&str, &[&str])] = &[
    ("cartwright-events", &[]),
    ("cartwright-ledger", &["cartwright-events"]),
    ("cartwright-event-log", &[]),
    ("cartwright-service", &[]),
    ("cartwright-domain", &["cartwright-events"]),
    (
        "cartwright-shard",
        &[
            "cartwright-domain",
            "cartwright-events",
            "cartwright-event-log",
        ],
    ),
    ("cartwright-read-model", &["cartwright-events"]),
    (
        "cartwright-folds",
        &["cartwright-events", "cartwright-read-model"],
    ),
    (
        "cartwright-sinks",
        &["cartwright-events", "cartwright-read-model"],
    ),
    (
        "cartwright-projector",
        &[
            "cartwright-events",
            "cartwright-event-log",
            "cartwright-read-model",
            "cartwright-folds",
            "cartwright-sinks",
            "cartwright-service",
        ],
    ),
    (
        "cartwright-replay",
        &[
            "cartwright-events",
            "cartwright-ledger",
            "cartwright-event-log",
            "cartwright-read-model",
            "cartwright-folds",
            "cartwright-sinks",
            "cartwright-projector",
            "cartwright-service",
        ],
    ),
    (
        "cartwright-query-api",
        &[
            "cartwright-events",
            "cartwright-read-model",
            "cartwright-service",
        ],
    ),
    (
        "cartwright-command-api",
        &[
            "cartwright-events",
            "cartwright-event-log",
            "cartwright-domain",
            "cartwright-shard",
            "cartwright-service",
        ],
    ),
    ("cartwright-topics", &["cartwright-events"]),
    ("cartwright-local", &[]),
    (
        "cartwright-shop",
        &[
            "cartwright-events",
            "cartwright-event-log",
            "cartwright-ledger",
        ],
    ),
];

/// What a layer must not reach, also not through others, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "cartwright-domain",
        &[
            "tokio",
            "rdkafka",
            "axum",
            "reqwest",
            "scylla",
            "tokio-postgres",
        ],
        "the domain is pure: no I/O, no clock, no async",
    ),
    (
        "cartwright-folds",
        &["cartwright-domain", "cartwright-event-log", "rdkafka"],
        "a fold sees one event and nothing else",
    ),
    (
        "cartwright-query-api",
        &["rdkafka", "cartwright-event-log", "cartwright-shard"],
        "query-api never produces",
    ),
    (
        "cartwright-projector",
        &["cartwright-domain", "cartwright-shard"],
        "projections know events, not rules",
    ),
    (
        "cartwright-read-model",
        &["rdkafka"],
        "the read model knows no log",
    ),
];

/// What the sources of a layer must not name outside tests, and why: what no dependency tells.
const NEVER_NAMES: &[(&[&str], &[&str], &str)] = &[(
    &[
        "projector/src",
        "projector/replay/src",
        "projector/sinks/src",
        "projector/folds/src",
    ],
    &["LogWriter", ".writer(", "::writer("],
    "nothing but rows comes of a projection or a rebuild: they write to no log",
)];

struct Workspace {
    /// Normal dependencies by package.
    uses: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
}

fn workspace() -> Workspace {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            // What other platforms would need was never downloaded.
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            "--manifest-path",
            manifest,
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: BTreeMap<&str, &str> = list(&metadata["packages"])
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let members = list(&metadata["workspace_members"])
        .map(|id| names[text(id)].to_owned())
        .collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let used = uses.entry(names[text(&node["id"])].to_owned()).or_default();
        for dependency in list(&node["deps"]) {
            // A null kind is a normal dependency; tests may use what they like.
            if list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()) {
                used.insert(names[text(&dependency["pkg"])].to_owned());
            }
        }
    }
    Workspace { uses, members }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

impl Workspace {
    fn reaches(&self, from: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(package) = open.pop() {
            for used in self.uses.get(package).into_iter().flatten() {
                if found.insert(used.as_str()) {
                    open.push(used);
                }
            }
        }
        found
    }
}

/// The sources in a folder, without their tests.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(OsStr::to_str);
        if path.is_dir() && name != Some("tests") {
            found.extend(sources(&path));
        } else if name.is_some_and(|name| name.ends_with(".rs") && name != "tests.rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            // Tests stand at the end of a file.
            let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            found.push((path, own.to_owned()));
        }
    }
    found
}

#[test]
fn every_layer_uses_only_the_layers_below_it() {
    let workspace = workspace();
    for (layer, allowed) in MAY_USE {
        assert!(
            workspace.members.contains(*layer),
            "{layer} is no member of the workspace"
        );
        let own = workspace.uses[*layer]
            .iter()
            .filter(|used| workspace.members.contains(*used));
        for used in own {
            assert!(
                allowed.contains(&used.as_str()),
                "{layer} must not use {used}"
            );
        }
    }
}

#[test]
fn no_layer_reaches_what_it_must_never_have() {
    let workspace = workspace();
    for (layer, never, why) in NEVER {
        let reached = workspace.reaches(layer);
        for package in *never {
            assert!(
                !reached.contains(package),
                "{layer} reaches {package}: {why}"
            );
        }
    }
}

#[test]
fn no_layer_names_what_it_must_never_use() {
    for (folders, never, why) in NEVER_NAMES {
        for folder in *folders {
            let sources = sources(&Path::new(ROOT).join(folder));
            assert!(!sources.is_empty(), "{folder} has no sources");
            for (file, text) in sources {
                for name in *never {
                    assert!(!text.contains(name), "{}: {name}: {why}", file.display());
                }
            }
        }
    }
}

#[test]
fn every_crate_of_the_layout_has_its_rule() {
    let workspace = workspace();
    let ruled: BTreeSet<&str> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    let tests = [
        "cartwright-harness",
        "cartwright-it",
        "cartwright-sim",
        "cartwright-bench",
        "cartwright-chaos",
    ];
    for member in &workspace.members {
        assert!(
            ruled.contains(member.as_str()) || tests.contains(&member.as_str()),
            "{member} has no rule"
        );
    }
}
