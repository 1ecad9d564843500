//! `cartwright-shop`: `demo` and `import retail`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use cartwright_shop::demo::run as demo;
use cartwright_shop::retail::import;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cartwright-shop",
    version,
    about = "Clients of a running Cartwright"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a busy minute in a small shop, and prove that nothing went wrong in it
    Demo(Demo),
    /// Put the orders of a file through the shop
    Import {
        #[command(subcommand)]
        format: Format,
    },
}

#[derive(Subcommand)]
enum Format {
    /// Invoices of the UCI "Online Retail" kind: CSV, plain or gzip
    Retail(Retail),
}

#[derive(Args)]
struct Services {
    /// Where the command-api listens
    #[arg(
        long,
        env = "CARTWRIGHT_COMMAND_URL",
        default_value = "http://127.0.0.1:7001"
    )]
    command_url: String,
    /// Where the query-api listens
    #[arg(
        long,
        env = "CARTWRIGHT_QUERY_URL",
        default_value = "http://127.0.0.1:7002"
    )]
    query_url: String,
}

#[derive(Args)]
struct Demo {
    #[command(flatten)]
    services: Services,
    /// Kafka's brokers
    #[arg(long, env = "CARTWRIGHT_BOOTSTRAP", default_value = "127.0.0.1:7010")]
    bootstrap: String,
    /// The schema registry
    #[arg(
        long,
        env = "CARTWRIGHT_REGISTRY",
        default_value = "http://127.0.0.1:7040"
    )]
    registry: String,
    /// How many seconds shoppers keep coming
    #[arg(long, value_name = "SECONDS", default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many shoppers come; at least 20
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    shoppers: u32,
    /// How many products there are
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(10..=1_900))]
    products: u16,
    /// Decides what is sold, who comes when and what they do
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Wait at most so many seconds, after the last shopper, for unpaid orders to expire
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    expiry_wait_s: u64,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Retail {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    services: Services,
    /// Receive only N units of each SKU, so that orders are rejected for want of stock
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    limit_stock: Option<i64>,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    json: bool,
    /// The report of rejects, a CSV file; made anew
    #[arg(long, value_name = "FILE", default_value = "retail-rejects.csv")]
    rejects: PathBuf,
    /// Most invoices in flight
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// What ids and references of this import start with
    #[arg(long, value_name = "TEXT", default_value = "retail")]
    namespace: String,
    /// Give up when nothing answers for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    give_up_after_s: u64,
    /// Wait at most so many seconds for the views to hold the last command; 0: do not
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait_for_views_s: u64,
    /// Read the file and print what would come of it; send nothing
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cartwright-shop: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ran = runtime.block_on(async {
        match cli.command {
            Command::Demo(asked) => show(asked).await,
            Command::Import {
                format: Format::Retail(asked),
            } => retail(asked).await,
        }
    });
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cartwright-shop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(asked: Demo) -> anyhow::Result<bool> {
    let options = demo::Options {
        command_url: asked.services.command_url,
        query_url: asked.services.query_url,
        bootstrap: asked.bootstrap,
        registry: asked.registry,
        open_for: Duration::from_secs(asked.seconds),
        shoppers: asked.shoppers as usize,
        products: asked.products.into(),
        seed: asked.seed,
        expiry_wait: Duration::from_secs(asked.expiry_wait_s),
    };
    let summary = demo::run(&options).await?;
    if asked.json {
        print_json(&summary)?;
    } else {
        print!("{}", summary.text());
    }
    Ok(summary.holds)
}

async fn retail(asked: Retail) -> anyhow::Result<bool> {
    let options = import::Options {
        file: asked.file,
        limit_stock: asked.limit_stock,
        rejects: asked.rejects,
        concurrency: asked.concurrency.into(),
        command_url: asked.services.command_url,
        query_url: asked.services.query_url,
        namespace: asked.namespace,
        give_up_after: Duration::from_secs(asked.give_up_after_s),
        wait_for_views: Duration::from_secs(asked.wait_for_views_s),
        dry_run: asked.dry_run,
    };
    let summary = import::run(&options).await?;
    if asked.json {
        print_json(&summary)?;
    } else {
        print!("{}", summary.text());
    }
    Ok(summary.is_complete())
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).context("standard output")?;
    writeln!(out).context("standard output")
}
