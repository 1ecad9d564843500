//! `cartwright-topics`: plans, applies, checks and documents the topics and their schemas.

use std::path::PathBuf;
use std::process::ExitCode;

use cartwright_events::registry::RegistryClient;
use cartwright_topics::apply::{self, Done};
use cartwright_topics::cluster::Cluster;
use cartwright_topics::topology::{self, Topology};
use cartwright_topics::{asyncapi, check, plan, subjects, versions};
use clap::{Args, Parser, Subcommand};

/// Exit status of `plan` when the cluster or the registry is not as declared.
const DIFFERENT: u8 = 2;
/// The profile that the AsyncAPI document describes.
const DOCUMENTED_PROFILE: &str = "production";

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
    /// Which of the declared profiles: local, cluster or production.
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
    /// Check topics, schemas, kept versions and examples; exits 1 when a rule is broken.
    Check {
        /// Ask no registry.
        #[arg(long)]
        offline: bool,
    },
    /// Keep every changed schema as its next version, with golden records of the examples.
    Keep,
    /// Write the AsyncAPI 3 document of the public topics.
    Asyncapi {
        /// The file; `-` is standard output. Default: docs/asyncapi.yaml of the repository.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Options {
    fn load(&self) -> anyhow::Result<Topology> {
        self.load_profile(&self.profile)
    }

    fn topics_file(&self) -> PathBuf {
        self.topics
            .clone()
            .unwrap_or_else(|| in_repository("topics/topics.yaml"))
    }

    fn load_profile(&self, profile: &str) -> anyhow::Result<Topology> {
        let schemas = self
            .schemas
            .clone()
            .unwrap_or_else(|| in_repository("schemas/avro"));
        Ok(Topology::load(&self.topics_file(), &schemas, profile)?)
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
        Command::Check { offline } => run_check(&cli.options, offline),
        Command::Keep => run_keep(&cli.options),
        Command::Asyncapi { output } => run_asyncapi(&cli.options, output),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cartwright-topics: {error}");
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

/// Every profile is checked: what is wrong in production shows on the developer's machine.
fn run_check(options: &Options, offline: bool) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    for profile in topology::profiles(&options.topics_file())? {
        found.extend(check::offline(&options.load_profile(&profile)?)?);
    }
    found.sort();
    found.dedup();
    if !offline {
        let registry = RegistryClient::new(&options.registry);
        found.extend(subjects::incompatibilities(&registry, &options.load()?)?);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        for problem in &found {
            println!("{problem}");
        }
        println!("{} problems", found.len());
    }
    Ok(if found.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_keep(options: &Options) -> anyhow::Result<ExitCode> {
    let kept = versions::keep(&options.load()?)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&kept)?);
    } else {
        for (name, version) in &kept {
            println!("kept {name} as version {version}");
        }
        if kept.is_empty() {
            println!("nothing to keep: every schema is its newest version");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_asyncapi(options: &Options, output: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let document = asyncapi::document(&options.load_profile(DOCUMENTED_PROFILE)?)?;
    let output = output.unwrap_or_else(|| in_repository("docs").join("asyncapi.yaml"));
    if output.as_os_str() == "-" {
        print!("{document}");
    } else {
        std::fs::write(&output, document)
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
