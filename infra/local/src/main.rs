//! `cartwright-local`: the commands of `./cartwright`.

mod commands;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Runs Cartwright on this machine.
///
/// Settings: CARTWRIGHT_BASE_PORT (default 7000), CARTWRIGHT_STATE_DIR (default .cartwright in the repository),
/// CARTWRIGHT_CACHE_DIR (downloads, default .cartwright/cache).
#[derive(Debug, Parser)]
#[command(name = "cartwright", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything that does not run, and say where it listens.
    Up {
        /// Only Kafka, Cassandra, PostgreSQL and the registry, without the services.
        #[arg(long)]
        infra_only: bool,
        /// How many nodes of command-api; without it, as many as the last time (one the first time).
        #[arg(long, value_name = "N", conflicts_with = "infra_only",
              value_parser = clap::value_parser!(u8).range(1..=i64::from(cartwright_local::MAX_NODES)))]
        nodes: Option<u8>,
    },
    /// Stop everything.
    Down,
    /// Say how each part stands; exits 0 when all run, 1 when one is killed or does not answer, 3 when none runs.
    Status {
        /// An array with each part's name, state, address and pid.
        #[arg(long)]
        json: bool,
    },
    /// Show the end of the logs, of one part or of all.
    Logs {
        /// kafka, cassandra, postgres, registry, command-api, projector or query-api.
        service: Option<String>,
        /// Keep showing what comes.
        #[arg(short, long)]
        follow: bool,
        /// How many lines of each log to begin with.
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: u32,
    },
    /// Stop everything and delete its data; downloads are kept.
    Reset {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Start everything, then run a small shop on it and show the result.
    Demo(Rest),
    /// Put a file of real orders through the running stack: `import retail FILE`.
    Import(Rest),
    /// Compare, apply or check topics and schemas: `topics plan|apply|check`.
    Topics(Rest),
    /// Rebuild a projection from the log.
    Replay(Rest),
}

/// Arguments that go to another program as they are.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    args: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cartwright: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { infra_only, nodes } => commands::up(infra_only, nodes).await,
        Command::Down => commands::down().await,
        Command::Status { json } => commands::status(json).await,
        Command::Logs {
            service,
            follow,
            lines,
        } => commands::logs(service.as_deref(), follow, lines),
        Command::Reset { yes } => commands::reset(yes).await,
        Command::Demo(rest) => commands::demo(&rest.args).await,
        Command::Import(rest) => commands::import(&rest.args).await,
        Command::Topics(rest) => commands::topics(&rest.args).await,
        Command::Replay(rest) => commands::replay(&rest.args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Command {
        Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .command
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_other_programs_pass_unchanged() {
        let Command::Import(rest) =
            parse("cartwright import retail orders.csv.gz --json --limit-stock 5")
        else {
            panic!("not an import");
        };
        assert_eq!(
            rest.args,
            ["retail", "orders.csv.gz", "--json", "--limit-stock", "5"]
        );
        let Command::Demo(rest) = parse("cartwright demo --shoppers 20") else {
            panic!("not a demo");
        };
        assert_eq!(rest.args, ["--shoppers", "20"]);
        let Command::Demo(rest) = parse("cartwright demo --help") else {
            panic!("help is the demo's own");
        };
        assert_eq!(rest.args, ["--help"]);
    }

    #[test]
    fn logs_take_a_part_and_follow() {
        let Command::Logs {
            service,
            follow,
            lines,
        } = parse("cartwright logs kafka -f")
        else {
            panic!("not logs");
        };
        assert_eq!(
            (service.as_deref(), follow, lines),
            (Some("kafka"), true, 50)
        );
    }

    #[test]
    fn an_unknown_command_is_refused() {
        assert!(Cli::try_parse_from(["cartwright", "upp"]).is_err());
    }
}
