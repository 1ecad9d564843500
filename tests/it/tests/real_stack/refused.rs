//! A projector that must not run over the rows that are there.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_events::Timestamp;
use cartwright_harness::{PATIENCE, TestStack};
use cartwright_local::{Part, READ_MODEL_NAME};
use cartwright_read_model::control::Control;
use cartwright_read_model::postgres::{self, PostgresOptions};
use cartwright_read_model::tables::projections::CATALOG;
use cartwright_read_model::versions::Versions;
use tokio::process::Command;

/// One of the stack's ports that no part uses.
const PORT: u16 = 58;
/// A database of its own: the projectors of the stack would be refused as well.
const DATABASE: &str = "begun_by_another_fold";

/// The process ends before it feeds anything, with the exit code 3 and one line that says why.
pub(crate) async fn a_projector_with_another_fold_under_the_same_number_does_not_start(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let server = stack.stack.postgres_url();
    let server = server.strip_suffix(READ_MODEL_NAME).context("a URL")?;
    let url = format!("{server}{DATABASE}");
    begun_by_another_fold(&url).await?;

    let config = stack.stack.config();
    let address = format!("127.0.0.1:{}", stack.stack.ports().base() + PORT);
    let projector = Command::new(config.program("cartwright-projector"))
        .arg("--config")
        .arg(config.service_config_file(Part::Projector))
        .env("CARTWRIGHT__HTTP__LISTEN", address)
        .env("CARTWRIGHT__POSTGRES__URL", &url)
        .env("CARTWRIGHT__PROJECTOR__PROJECTIONS", "[\"catalog\"]")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PATIENCE, projector);
    let ended = ended.await.context("it runs")??;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(3), "{}: {said}", ended.status);
    let mut lines = said.lines();
    let line = lines.next().unwrap_or_default();
    ensure!(lines.next().is_none(), "{said}");
    let expected = "cartwright-projector: refused: catalog@1 was begun with fold version 99";
    ensure!(line.starts_with(expected), "{said}");
    ensure!(line.contains("declare it as a new version"), "{said}");
    Ok(())
}

async fn begun_by_another_fold(url: &str) -> anyhow::Result<()> {
    let options = PostgresOptions::new(url);
    postgres::make_database(&options).await?;
    let pool = postgres::pool(&options)?;
    postgres::make_control_tables(&mut *pool.get().await?).await?;
    let mut versions = Versions::begin(&CATALOG, 1, Timestamp::now());
    versions.versions[0].identity.fold_version = 99;
    let control = Control::Postgres(pool);
    let stored = control.store_versions(CATALOG.name, &versions).await?;
    ensure!(stored, "there are versions already");
    Ok(())
}
