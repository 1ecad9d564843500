//! Processes beside those of the stack: a second one of a service, with the same settings.

use std::process::{Child, Command, Stdio};

use anyhow::ensure;
use cartwright_harness::{PATIENCE, TestStack, eventually};
use cartwright_local::Part;

/// A second process of a service; ends with the test.
pub(crate) struct Beside {
    child: Child,
    /// Where it answers.
    pub(crate) url: String,
}

impl Beside {
    /// Starts it at the stack's port number `offset`, and waits until it listens.
    pub(crate) async fn start(stack: &TestStack, part: Part, offset: u16) -> anyhow::Result<Self> {
        let config = stack.stack.config();
        let address = format!("127.0.0.1:{}", stack.stack.ports().base() + offset);
        let child = Command::new(config.program(&format!("cartwright-{}", part.name())))
            .arg("--config")
            .arg(config.service_config_file(part))
            .env("CARTWRIGHT__HTTP__LISTEN", &address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let beside = Self {
            child,
            url: format!("http://{address}"),
        };
        let live = format!("{}/livez", beside.url);
        eventually("the second process listens", PATIENCE, || async {
            reqwest::get(&live).await.ok()
        })
        .await?;
        Ok(beside)
    }

    /// Ends it by SIGTERM, and waits until it has ended.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(asked.success(), "no signal for {pid}: {asked}");
        let child = &mut self.child;
        let ended = eventually("the second process ends", PATIENCE, || {
            let ended = child.try_wait().ok().flatten();
            async move { ended }
        })
        .await?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    }

    /// Kills it: it can say goodbye to nobody.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
