//! `cartwright-topics` against a real cluster and registry.

use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::ensure;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

fn topics(stack: &TestStack, command: &str) -> anyhow::Result<Output> {
    let config = stack.stack.config();
    Ok(Command::new(config.program("cartwright-topics"))
        .arg(command)
        .args([
            "--bootstrap",
            &stack.stack.bootstrap(),
            "--registry",
            &stack.stack.registry_url(),
        ])
        .current_dir(&config.root)
        .output()?)
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub(crate) async fn a_fresh_cluster_has_no_difference_to_the_plan(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    for command in ["plan", "check"] {
        let output = topics(&stack, command)?;
        ensure!(
            output.status.code() == Some(0),
            "{command}: {}",
            text(&output)
        );
    }
    Ok(())
}

pub(crate) async fn a_drifted_setting_is_shown_and_put_right(
    stack: Arc<TestStack>,
) -> anyhow::Result<()> {
    let topic = "checkout.order.events.v1";
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", stack.stack.bootstrap())
        .create()?;
    let drift = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "1000000000");
    admin.alter_configs(&[drift], &AdminOptions::new()).await?;
    // The controller answers before the broker knows.
    let plan_exits_with = async |code: i32| {
        eventually("what the plan says", PATIENCE, || async {
            let plan = topics(&stack, "plan").ok()?;
            (plan.status.code() == Some(code)).then_some(plan)
        })
        .await
    };
    let plan = plan_exits_with(2).await?;
    ensure!(
        text(&plan).contains(topic) && text(&plan).contains("retention.ms"),
        "{}",
        text(&plan)
    );
    let apply = topics(&stack, "apply")?;
    ensure!(apply.status.success(), "{}", text(&apply));
    plan_exits_with(0).await.map(drop)
}
