//! `cartwright-topics`: plans, applies, checks and documents the topics and their schemas.

use std::path::PathBuf;
use std::process::ExitCode;

use cartwright_events::registry::RegistryClient;
use cartwright_topics::apply::{self, Done};
use cartwright_topics::cluster::Cluster;
use cartwright_topics::plan;
use cartwright_topics::topology::Topology;
use clap::{Args, Parser, Subcommand};

/// Exit status of `plan` when the cluster or the registry is not as declared.
const DIFFERENT: u8 = 2;

/// Topics and schemas of Cartwright: declared in topics.yaml, made so, checked, documented.
#[derive(Parser)]
#[command(name = "cartwright-topics", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// Kafka brokers, host:port, separated by commas.
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:7010",
        env = "CARTWRIGHT_KAFKA"
    )]
    bootstrap: String,
    /// URL of the schema registry.
    #[arg(
        long,
        global = true,
        default_value = "http://127.0.0.1:7040",
        env = "CARTWRIGHT_REGISTRY"
    )]
    registry: String,
    /// The declaration.
    #[arg(long, global = true, value_name = "FILE")]
    topics: Option<PathBuf>,
    /// The folder of schemas.
    #[arg(long, global = true, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Which of the declared profiles: local or production.
    #[arg(
        long,
        global = true,
        default_value = "local",
        env = "CARTWRIGHT_TOPICS_PROFILE"
    )]
    profile: String,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make the cluster and the registry as declared; never repartitions or deletes.
    Apply,
    /// Show what is not as declared; exits 2 if anything, 0 if nothing, 1 on an error.
    Plan,
}

impl Options {
    fn load(&self) -> anyhow::Result<Topology> {
        let topics = self
            .topics
            .clone()
            .unwrap_or_else(|| in_repository("topics/topics.yaml"));
        let schemas = self
            .schemas
            .clone()
            .unwrap_or_else(|| in_repository("schemas/avro"));
        Ok(Topology::load(&topics, &schemas, &self.profile)?)
    }

    fn connect(&self) -> anyhow::Result<(Cluster, RegistryClient)> {
        Ok((
            Cluster::connect(&self.bootstrap)?,
            RegistryClient::new(&self.registry),
        ))
    }
}

/// A path below the repository's root: from the working folder upwards, else where this was built.
fn in_repository(path: &str) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::current_dir()
        .ok()
        .and_then(|dir| {
            dir.ancestors()
                .map(|ancestor| ancestor.join(path))
                .find(|file| file.exists())
        })
        .unwrap_or_else(|| built.join(path))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Apply => run_apply(&cli.options),
        Command::Plan => run_plan(&cli.options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cartwright-topics: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_apply(options: &Options) -> anyhow::Result<ExitCode> {
    let topology = options.load()?;
    let (cluster, registry) = options.connect()?;
    let mut all: Vec<Done> = Vec::new();
    apply::apply(&topology, &cluster, &registry, |done| {
        if !options.json {
            println!("{done}");
        }
        all.push(done);
    })?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else if all.is_empty() {
        println!(
            "nothing to do: {} topics and their schemas are as declared",
            topology.topics.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn run_plan(options: &Options) -> anyhow::Result<ExitCode> {
    let topology = options.load()?;
    let (cluster, registry) = options.connect()?;
    let state = apply::state(&topology, &cluster, &registry)?;
    let found = plan::differences(&topology, &state);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for difference in &found {
            println!("{difference}");
        }
        println!("{} differences", found.len());
    }
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}
