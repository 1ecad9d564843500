//! `list`: what there is.

use cartwright_events::Timestamp;
use cartwright_read_model::versions::Verification;
use cartwright_read_model::{PROJECTIONS, Projection};
use serde::Serialize;

use super::unknown::{self, Away, Told, exit, known};
use crate::context::{self, Context};
use crate::exit::Exit;
use crate::output::table;
use crate::registry::Home;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this projection.
    projection: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    projection: &'static str,
    /// The newest version that this code declares.
    declared: u32,
    store: &'static str,
    versions: Vec<ListedVersion>,
}

#[derive(Debug, Serialize)]
struct ListedVersion {
    version: u32,
    state: &'static str,
    current: bool,
    name: Option<String>,
    built_by: u32,
    fold_version: u32,
    begun_at: Timestamp,
    events: u64,
    verification: Option<Verification>,
}

/// Lists projections with their versions. A store that does not answer hides nothing of the other.
///
/// # Errors
/// An unknown projection.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let wanted: Vec<&'static Projection> = match &arguments.projection {
        Some(name) => vec![context::known(name)?],
        None => PROJECTIONS.to_vec(),
    };
    let mut away = Away::default();
    let listed = wanted.into_iter().map(|projection| {
        let home = away.open(context, projection);
        let listed = home.and_then(|home| list(&home)).map(Told::Known);
        listed.unwrap_or_else(|error| Told::unknown(projection, &error))
    });
    let listed: Vec<Told<Listed>> = listed.collect();
    context.output.result(&listed, |listed| text(listed));
    Ok(exit(&listed))
}

fn list(home: &Home<'_>) -> anyhow::Result<Listed> {
    let projection = home.projection;
    let mut listed = Vec::new();
    if let Some(versions) = home.find()? {
        for version in &versions.versions {
            listed.push(ListedVersion {
                version: version.number,
                state: version.state.word(),
                current: version.number == versions.current,
                name: version.name().map(str::to_owned),
                built_by: version.declared,
                fold_version: version.identity.fold_version,
                begun_at: version.begun_at,
                events: home.events(version.number)?,
                verification: version.verification.clone(),
            });
        }
    }
    Ok(Listed {
        projection: projection.name,
        declared: projection.version,
        store: projection.store.name(),
        versions: listed,
    })
}

fn text(listed: &[Told<Listed>]) -> String {
    let rows: Vec<Vec<String>> = known(listed)
        .flat_map(|each| {
            each.versions
                .iter()
                .map(move |version| cells(each, version))
        })
        .collect();
    let header = [
        "version", "state", "store", "events", "fold", "as of", "verified",
    ];
    format!("{}{}", table(&header, &rows), unknown::text(listed))
}

fn cells(of: &Listed, version: &ListedVersion) -> Vec<String> {
    let verified = version.verification.as_ref().map(|each| {
        let outcome = format!("{:?}", each.outcome).to_lowercase();
        format!("{outcome} against {} at {}", each.against, each.at)
    });
    vec![
        format!("{}@{}", of.projection, version.version),
        match version.current {
            true => "current".to_owned(),
            false => version.state.to_owned(),
        },
        of.store.to_owned(),
        version.events.to_string(),
        version.fold_version.to_string(),
        version.name.clone().unwrap_or_default(),
        verified.unwrap_or_default(),
    ]
}
