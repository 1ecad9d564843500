//! The boot order of query-api.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use cartwright_query_api::{App, Config, metric_names, routes};
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::Shutdown;
use cartwright_service::{app, config, metrics, shutdown, telemetry};
use clap::Parser;

/// Answers reads: products, carts, orders, search, timelines and sales reports.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings, as TOML; environment variables CARTWRIGHT__SECTION__KEY override single keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cartwright-query-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config: Config = config::load(arguments.config.as_deref(), config::ENV_PREFIX)?;
    config.validate()?;
    telemetry::init(&config.log)?;
    let metrics = metrics::install()?;
    metric_names::describe();
    let shutdown = Shutdown::on_signals().context("signal handlers")?;
    let listener = shutdown::bind(config.http.listen)?;

    let readiness = Readiness::new();
    let app = App::new(&config).context("configuration key `postgres.url`")?;
    let reader = app.clone();
    let mut watchers = app.watch_stores(&readiness, &shutdown);

    let router = app::assemble(routes::router(app), &config.http, &readiness, &metrics);
    let drained = shutdown::serve(listener, router, &config.http, &readiness, &shutdown).await;

    watchers.shutdown().await;
    reader.leave().await;
    tracing::info!(cut_off = drained.cut_off, "stopped");
    Ok(())
}
