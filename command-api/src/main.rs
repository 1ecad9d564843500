//! The command-api service. What follows is its boot order.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cartwright_command_api::app::{App, Running, StartError};
use cartwright_command_api::config::Config;
use cartwright_command_api::routes;
use cartwright_event_log::LogError;
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::Context;
use cartwright_events::codec::{Codec, CodecError};
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::{self, Shutdown};
use cartwright_service::{app, config, metrics, telemetry};
use clap::Parser;

/// Commands over HTTP, decided by one writer per partition of the log.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, TOML. Variables such as CARTWRIGHT__HTTP__LISTEN override its keys.
    #[arg(long, value_name = "FILE", env = "CARTWRIGHT_CONFIG")]
    config: Option<PathBuf>,
    /// Contexts to serve, separated by commas, in place of those of the configuration.
    #[arg(long, value_delimiter = ',', value_parser = context)]
    contexts: Option<Vec<Context>>,
}

/// Pauses between tries to reach what the service stands on.
const BOOT_PAUSE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        // Something was cut off; the log says what.
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("cartwright-command-api: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, leaving out those that it tells itself.
fn one_line(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |line, cause| match line.as_str() {
            "" => cause,
            known if known.contains(&cause) => line,
            known => format!("{known}: {cause}"),
        })
}

/// Serves until told to stop. Returns whether everything ended within its limit.
async fn run(arguments: Arguments) -> Result<bool> {
    let mut config: Config = config::load(arguments.config.as_deref(), config::ENV_PREFIX)?;
    if let Some(contexts) = arguments.contexts {
        config.command.contexts = contexts;
    }
    config.validate()?;
    telemetry::init(&config.log)?;
    let metrics = metrics::install()?;
    let shutdown = Shutdown::on_signals().context("signals cannot be handled")?;
    // Before anything is taken over: a port in use must not cost a running service its shards.
    let listener = shutdown::bind(config.http.listen)?;

    let readiness = Readiness::new();
    let (app, running) = tokio::select! {
        started = start(&config, &readiness) => started?,
        () = shutdown.requested() => return Ok(true),
    };
    let router = app::assemble(routes::router(app), &config.http, &readiness, &metrics);
    // Other nodes take the shards over first; until they have, this one goes on serving.
    let drain = Shutdown::new();
    let leave = async {
        shutdown.requested().await;
        readiness.drain();
        if let Some(nodes) = &config.nodes {
            running.leave(nodes.leave_limit()).await;
        }
        drain.trigger();
    };
    let serve = shutdown::serve(listener, router, &config.http, &readiness, &drain);
    let (drained, ()) = tokio::join!(serve, leave);

    let stop_limit = config.command.stop_limit();
    let stopped = tokio::task::spawn_blocking(move || running.stop(stop_limit)).await?;
    if !stopped {
        tracing::error!("shards did not stop in time; what they had accepted is in doubt");
    }
    tracing::info!("stopped");
    Ok(stopped && drained.cut_off == 0)
}

/// Reaches the registry and the log, trying for as long as the settings say, and starts the shards.
async fn start(config: &Config, readiness: &Readiness) -> Result<(App, Running)> {
    let give_up_at = Instant::now() + config.command.boot_wait();
    let codec = {
        let url = config.registry.url.clone();
        let connect = move || Codec::connect(&url);
        let again = |error: &CodecError| matches!(error, CodecError::RegistryUnavailable(_));
        retry(give_up_at, connect, again).await?
    };
    let log = KafkaLog::new(config.kafka_options())?;
    let (config, readiness) = (config.clone(), readiness.clone());
    let bootstrap = config.kafka.bootstrap.clone();
    let start = move || App::start(&config, &log, &codec, &readiness);
    let again = |error: &StartError| matches!(error, StartError::Log(LogError::Unavailable { .. }));
    retry(give_up_at, start, again)
        .await
        .with_context(|| format!("kafka at {bootstrap}"))
}

/// Calls a blocking `attempt` until it succeeds, fails for good, or the time is over.
async fn retry<T, E>(
    give_up_at: Instant,
    attempt: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    again: impl Fn(&E) -> bool,
) -> Result<T>
where
    T: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        let error = match tokio::task::spawn_blocking(attempt.clone()).await? {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !again(&error) || Instant::now() + BOOT_PAUSE > give_up_at {
            return Err(error.into());
        }
        tracing::warn!(%error, "not reachable yet; trying again");
        tokio::time::sleep(BOOT_PAUSE).await;
    }
}

fn context(name: &str) -> Result<Context> {
    match Context::ALL
        .into_iter()
        .find(|context| context.name() == name)
    {
        Some(context) => Ok(context),
        None => bail!("must be one of catalog, inventory, checkout"),
    }
}
