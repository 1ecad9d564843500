//! `list`: what there is.

use cartwright_read_model::{
    PROJECTIONS, Position, PositionKey, Projection, ReadModelError, Store, cassandra, postgres,
};
use serde::Serialize;

use crate::context::{Context, known};
use crate::exit::Exit;
use crate::output::table;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this projection.
    projection: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    projection: &'static str,
    version: u32,
    store: &'static str,
    partitions: Vec<PartitionPosition>,
}

#[derive(Debug, Serialize)]
struct PartitionPosition {
    topic: &'static str,
    partition: u32,
    #[serde(flatten)]
    position: Position,
}

/// Lists projections with their versions and positions.
///
/// # Errors
/// An unknown projection, or a store that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let wanted: Vec<&'static Projection> = match &arguments.projection {
        Some(name) => vec![known(name)?],
        None => PROJECTIONS.to_vec(),
    };
    let mut listed = Vec::new();
    for projection in wanted {
        let found = context.wait(positions(context, projection, projection.version))?;
        listed.push(Listed {
            projection: projection.name,
            version: projection.version,
            store: projection.store.name(),
            partitions: found.into_iter().map(PartitionPosition::from).collect(),
        });
    }
    context.output.result(&listed, |listed| text(listed));
    Ok(Exit::Done)
}

impl From<(PositionKey, Position)> for PartitionPosition {
    fn from((key, position): (PositionKey, Position)) -> Self {
        Self {
            topic: key.stream.topic(),
            partition: key.partition,
            position,
        }
    }
}

/// How far a version is.
pub(crate) async fn positions(
    context: &Context,
    projection: &'static Projection,
    version: u32,
) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
    match projection.store {
        Store::Postgres => {
            let client = context.stores.postgres.get().await?;
            postgres::load_positions(&**client, projection, version).await
        }
        Store::Cassandra => {
            let store = &context.stores.cassandra;
            let session = store.session().await?;
            let keyspace = &store.options().keyspace;
            cassandra::load_positions(&session, keyspace, projection, version).await
        }
    }
}

fn text(listed: &[Listed]) -> String {
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|each| {
            let events: u64 = each.partitions.iter().map(|at| at.position.seq).sum();
            vec![
                each.projection.to_owned(),
                each.version.to_string(),
                each.store.to_owned(),
                each.partitions.len().to_string(),
                events.to_string(),
            ]
        })
        .collect();
    table(
        &["projection", "version", "store", "partitions", "events"],
        &rows,
    )
}
