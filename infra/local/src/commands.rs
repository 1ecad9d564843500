//! What each command does.

use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use cartwright_local::{
    Part, PartState, PartStatus, Progress, READ_MODEL_NAME, Stack, StackConfig, TOPICS_PROGRAM,
    UpReport, topics_arguments,
};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of `status` when nothing runs, as service managers use it.
const NOT_RUNNING: u8 = 3;

const SHOP_PROGRAM: &str = "cartwright-shop";
const REPLAY_PROGRAM: &str = "cartwright-replay";

/// How long an order of the demo waits for its money, in milliseconds.
const DEMO_PAYMENT_DEADLINE_MS: u64 = 30_000;
const PAYMENT_DEADLINE_SETTING: &str = "CARTWRIGHT__CHECKOUT__PAYMENT_DEADLINE_MS";

fn stack(with_services: bool, progress: Progress) -> anyhow::Result<Stack> {
    let mut config = StackConfig::from_env()?;
    config.with_services = with_services;
    config.nodes = 0;
    Ok(Stack::with_progress(config, progress)?)
}

/// `up`
pub async fn up(infra_only: bool, nodes: Option<u8>) -> anyhow::Result<ExitCode> {
    let mut config = StackConfig::from_env()?;
    config.with_services = !infra_only;
    config.nodes = nodes.unwrap_or(0);
    let stack = Stack::with_progress(config, Progress::for_stderr())?;
    let report = stack.up().await?;
    print!("{}", where_everything_listens(&stack, &report));
    Ok(ExitCode::SUCCESS)
}

fn where_everything_listens(stack: &Stack, report: &UpReport) -> String {
    let mut text = String::new();
    let what = match (report.started.len(), report.found_killed.len()) {
        (0, _) => "Everything runs already.".to_owned(),
        (started, 0) => format!(
            "Up: {started} started, {} ran already.",
            report.found_running.len()
        ),
        (started, killed) => format!(
            "Up: {started} started ({killed} of them had been killed), {} ran already.",
            report.found_running.len()
        ),
    };
    text += &format!("\n{what}\n");
    let mut lines = vec![
        ("kafka", stack.bootstrap()),
        (
            "cassandra",
            format!("{} (keyspace {READ_MODEL_NAME})", stack.cassandra_node()),
        ),
        ("postgres", stack.postgres_url()),
        (
            "registry",
            format!("{}/apis/ccompat/v7", stack.registry_url()),
        ),
    ];
    if stack.config().with_services {
        lines.push(("projector", Part::Projector.address(stack.ports())));
        let nodes = Part::command_nodes(stack.config().nodes);
        let nodes = nodes.into_iter().skip(1);
        lines.extend(nodes.map(|node| (node.name(), node.address(stack.ports()))));
    }
    for (name, address) in lines {
        text += &format!("  {name:<13} {address}\n");
    }
    if stack.config().with_services {
        text += &format!(
            "Listening: commands on {}, reads on {}\n",
            stack.command_url(),
            stack.query_url()
        );
    } else {
        text += "Listening: the infrastructure alone; ./cartwright up adds the services\n";
    }
    text
}

/// `down`
pub async fn down() -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::for_stderr())?;
    stack.down().await?;
    println!("Down: no process is left.");
    Ok(ExitCode::SUCCESS)
}

/// `status`
pub async fn status(json: bool) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::Silent)?;
    stack.check_base_port()?;
    let parts = stack.status().await;
    if json {
        println!("{}", serde_json::to_string_pretty(&parts)?);
    } else {
        for part in &parts {
            println!("{}", status_line(part));
        }
    }
    for line in complaints(&parts) {
        eprintln!("cartwright: {line}");
    }
    Ok(status_code(&parts))
}

fn status_line(part: &PartStatus) -> String {
    let pid = part.pid.filter(|_| part.state != PartState::Killed);
    let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    format!(
        "{:<13} {:<14} {:<24} {pid}",
        part.name,
        part.state.name(),
        part.address
    )
}

fn complaints(parts: &[PartStatus]) -> Vec<String> {
    if all_stopped(parts) {
        return vec!["nothing runs: ./cartwright up starts it".to_owned()];
    }
    parts.iter().filter_map(complaint).collect()
}

fn complaint(part: &PartStatus) -> Option<String> {
    let (name, pid) = (part.name, part.pid.unwrap_or(0));
    match part.state {
        PartState::Running => None,
        PartState::Killed => Some(format!(
            "{name} was killed: its process {pid} is gone; ./cartwright up starts it again"
        )),
        PartState::NotAnswering => Some(format!(
            "{name} (process {pid}) does not answer on {}: {}",
            part.address,
            part.detail.as_deref().unwrap_or("no reason given")
        )),
        PartState::Stopped => Some(format!("{name} is stopped; ./cartwright up starts it")),
    }
}

fn all_stopped(parts: &[PartStatus]) -> bool {
    parts.iter().all(|part| part.state == PartState::Stopped)
}

fn status_code(parts: &[PartStatus]) -> ExitCode {
    if all_stopped(parts) {
        ExitCode::from(NOT_RUNNING)
    } else if parts.iter().all(|part| part.state == PartState::Running) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `logs`
pub fn logs(service: Option<&str>, follow: bool, lines: u32) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::Silent)?;
    let parts = match service {
        Some(name) => vec![name.parse::<Part>()?],
        None => stack.parts(),
    };
    let files: Vec<_> = parts
        .iter()
        .map(|part| stack.config().log_file(*part))
        .filter(|file| file.exists())
        .collect();
    if files.is_empty() {
        bail!("there is no log yet: ./cartwright up starts the stack");
    }
    let mut tail = Command::new("tail");
    tail.arg("-n")
        .arg(lines.to_string())
        .args(follow.then_some("-F"))
        .args(files);
    Err(tail.exec()).context("tail")
}

/// `reset`
pub async fn reset(yes: bool) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::for_stderr())?;
    let folder = stack.config().state_dir.display().to_string();
    if !yes
        && !confirmed(&format!(
            "Stop the stack and delete all its data in {folder}? [y/N] "
        ))?
    {
        println!("Nothing was changed.");
        return Ok(ExitCode::FAILURE);
    }
    stack.reset().await?;
    println!("Reset: no process is left, no data is left; downloads are kept.");
    Ok(ExitCode::SUCCESS)
}

fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("reset deletes all data and nobody is there to ask: say --yes");
    }
    print!("{question}");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `demo`
pub async fn demo(args: &[String]) -> anyhow::Result<ExitCode> {
    let mut config = StackConfig::from_env()?;
    config.nodes = 0;
    let shop = {
        let stack = Stack::new(config.clone())?;
        let mut shop = shop_command(&stack, "demo", args);
        add_unless_given(&mut shop, args, "--bootstrap", stack.bootstrap());
        add_unless_given(&mut shop, args, "--registry", stack.registry_url());
        shop
    };
    if asks_for_help(args) {
        return exec(shop);
    }
    // Some shoppers never pay: in a demo they are not waited for as long as otherwise.
    config.service_env.insert(
        Part::CommandApi,
        vec![(
            PAYMENT_DEADLINE_SETTING.to_owned(),
            DEMO_PAYMENT_DEADLINE_MS.to_string(),
        )],
    );
    Stack::with_progress(config, Progress::for_stderr())?
        .up()
        .await?;
    // Whatever is to end this ends the shop; the stack is still put back afterwards. An interrupt reaches
    // the shop by itself, which shares the terminal.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let program = shop.get_program().to_string_lossy().into_owned();
    let mut child = tokio::process::Command::from(shop)
        .spawn()
        .with_context(|| program)?;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended?,
            _ = interrupt.recv() => {}
            // It may have ended just now.
            _ = terminate.recv() => drop(child.start_kill()),
            _ = hangup.recv() => drop(child.start_kill()),
        }
    };
    stack(true, Progress::Silent)?.up().await?;
    Ok(if ended.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn asks_for_help(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--help" || arg == "-h")
}

/// `import`
pub async fn import(args: &[String]) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::Silent)?;
    stack.check_base_port()?;
    if !asks_for_help(args) {
        for part in [Part::CommandApi, Part::QueryApi] {
            let status = stack.status_of(part).await;
            if status.state != PartState::Running {
                bail!(
                    "{part} is {}: run ./cartwright up first",
                    status.state.name()
                );
            }
        }
    }
    exec(shop_command(&stack, "import", args))
}

/// The shop program, told where the services are. What the user gave comes first, since a subcommand stands in it.
fn shop_command(stack: &Stack, command: &str, args: &[String]) -> Command {
    let mut shop = Command::new(stack.config().program(SHOP_PROGRAM));
    shop.arg(command).args(args);
    add_unless_given(&mut shop, args, "--command-url", stack.command_url());
    add_unless_given(&mut shop, args, "--query-url", stack.query_url());
    shop
}

fn add_unless_given(command: &mut Command, given: &[String], name: &str, value: String) {
    let is_it = |arg: &String| {
        arg == name
            || arg
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
    };
    if !given.iter().any(is_it) {
        command.args([name, &value]);
    }
}

/// `topics`
pub async fn topics(args: &[String]) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::Silent)?;
    stack.check_base_port()?;
    let mut topics = Command::new(stack.config().program(TOPICS_PROGRAM));
    topics.args(args);
    for (name, value) in topics_arguments(&stack) {
        add_unless_given(&mut topics, args, name, value);
    }
    exec(topics)
}

/// `replay`
pub async fn replay(args: &[String]) -> anyhow::Result<ExitCode> {
    let stack = stack(true, Progress::Silent)?;
    let mut replay = Command::new(stack.config().program(REPLAY_PROGRAM));
    replay
        .arg("--config")
        .arg(stack.config().service_config_file(Part::Projector))
        .args(args);
    exec(replay)
}

/// Becomes another program; returns only when that fails.
fn exec(mut command: Command) -> anyhow::Result<ExitCode> {
    let program = command.get_program().to_string_lossy().into_owned();
    let error = command.exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!("{program} is not built: build it with cargo build --workspace --bins");
    }
    Err(error).with_context(|| program)
}
