//! Topics and schemas: `cartwright-topics apply` against this stack.

use tokio::process::Command;

use crate::error::{Result, StackError};
use crate::launch;
use crate::progress::Progress;
use crate::stack::Stack;

/// The program that plans, applies and checks topics.
pub const PROGRAM: &str = "cartwright-topics";

/// Where the topics tool finds this stack and this repository's definitions, as its arguments.
pub fn arguments(stack: &Stack) -> [(&'static str, String); 4] {
    let root = &stack.config().root;
    [
        ("--bootstrap", stack.bootstrap()),
        ("--registry", stack.registry_url()),
        (
            "--topics",
            root.join("topics/topics.yaml").display().to_string(),
        ),
        ("--schemas", root.join("schemas/avro").display().to_string()),
    ]
}

/// Makes topics and schemas what the repository says. A stack without services goes without, where the tool is not
/// built.
///
/// # Errors
/// [`StackError::Missing`] when the tool is needed and absent, [`StackError::Tool`] when it fails.
pub(crate) async fn apply(stack: &Stack, progress: &Progress) -> Result<()> {
    let program = stack.config().program(PROGRAM);
    if !program.exists() {
        if !stack.config().with_services {
            return Ok(());
        }
        return Err(StackError::Missing {
            what: program.display().to_string(),
            remedy: "build it with: cargo build --workspace --bins".to_owned(),
        });
    }
    progress.step("topics", "applying topics and schemas");
    let mut command = Command::new(&program);
    command.arg("apply");
    for (name, value) in arguments(stack) {
        command.args([name, &value]);
    }
    let outcome = launch::run("cartwright-topics apply", command).await;
    match &outcome {
        Ok(()) => progress.done("topics", "as the repository says"),
        Err(_) => progress.failed("topics"),
    }
    outcome
}
