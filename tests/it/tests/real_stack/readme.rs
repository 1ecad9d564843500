//! The README's own commands, as a reader types them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cartwright_harness::TestStack;
use serde_json::Value;
use tokio::process::Command;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The code block that follows `heading` in the README.
fn block(heading: &str) -> anyhow::Result<String> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let (_, after) = readme.split_once(heading).context("no such heading")?;
    let block = after.split("```").nth(1).context("no code block")?;
    Ok(block.to_owned())
}

pub(crate) async fn the_commands_to_try_sell_a_mug(stack: Arc<TestStack>) -> anyhow::Result<()> {
    let script: String = block("### Try it")?
        .replace("./cartwright up\n", "") // it is up
        .replace("MUG", "README-MUG") // other tests sell mugs too
        .replace("localhost:7001", &stack.stack.command_url())
        .replace("localhost:7002", &stack.stack.query_url());
    // The trial before may have taken a part away that is on its way back.
    let patient =
        "curl() { command curl --fail --retry 30 --retry-delay 1 --retry-all-errors \"$@\"; }";
    let output = Command::new("bash")
        .args(["-e", "-c", &format!("{patient}\n{script}")])
        .stdin(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{:?}: {text}", output.status);
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .with_context(|| text.clone())?;
    ensure!(answers.len() == 3, "three answers: {text}");
    let order = &answers[2];
    ensure!(order["status"] == "confirmed", "{order}");
    Ok(())
}

/// Every command that the README names is one that the launcher knows.
pub(crate) async fn every_command_is_known_to_the_launcher(
    _: Arc<TestStack>,
) -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let launcher = Command::new("./cartwright")
        .arg("help")
        .current_dir(root())
        .output()
        .await?;
    let help = String::from_utf8(launcher.stdout)?;
    let commands = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("./cartwright "))
        .filter_map(|rest| rest.split_whitespace().next());
    let mut seen = 0;
    for command in commands {
        seen += 1;
        ensure!(
            help.split_whitespace().any(|word| word == command),
            "./cartwright {command} is in the README and not in the launcher's help: {help}"
        );
    }
    ensure!(seen > 8, "only {seen} commands found");
    Ok(())
}
