//! A small file system for each store, which can be full.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cartwright_local::Part;

/// Says to this program, started again, that mounts of its own are what it has.
const MARK: &str = "CHAOS_OWN_MOUNTS";
/// Room for a store's data; memory is taken only by what is there.
const SIZE_BYTES: u64 = 1 << 30;

/// Where the stores' file systems are mounted.
pub(crate) struct Disks(BTreeMap<Part, PathBuf>);

/// Becomes this program again in a mount namespace of its own, so that what is mounted for the run goes
/// with its processes, however they end. Only root may; anybody else goes on as before.
pub(crate) fn have_own_mounts() -> anyhow::Result<()> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]);
        command
    };
    let may = || unshare().arg("true").output();
    if env::var_os(MARK).is_some() || !may().is_ok_and(|done| done.status.success()) {
        return Ok(());
    }
    let program = env::current_exe()?;
    let arguments = env::args_os().skip(1);
    let error = unshare()
        .arg(program)
        .args(arguments)
        .env(MARK, "yes")
        .exec();
    Err(error).context("unshare")
}

impl Disks {
    /// Mounts one for each store; `None` where that is not allowed.
    pub(crate) fn mount(below: &Path, stores: &[Part]) -> Option<Self> {
        env::var_os(MARK)?;
        let mut disks = BTreeMap::new();
        for store in stores {
            let at = below.join(store.name());
            fs::create_dir_all(&at).ok()?;
            let options = format!("size={SIZE_BYTES},mode=755");
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &options, "chaos"]);
            let mounted = mount.arg(&at).output();
            if !mounted.is_ok_and(|mounted| mounted.status.success()) {
                return None;
            }
            disks.insert(*store, at);
        }
        Some(Self(disks))
    }

    /// Where each store's data is to be.
    pub(crate) fn data_dirs(&self) -> BTreeMap<Part, PathBuf> {
        let disks = self.0.iter();
        disks.map(|(part, at)| (*part, at.join("data"))).collect()
    }

    /// Leaves no room beyond what is used.
    pub(crate) fn fill(&self, store: Part) -> anyhow::Result<()> {
        const TRIES: u32 = 50;
        let at = self.of(store)?;
        let mut refused = Ok(());
        for _ in 0..TRIES {
            let now = rustix::fs::statvfs(at)?;
            if now.f_bavail == 0 {
                return Ok(());
            }
            // Refused when the store has written something since it was looked at.
            refused = self.resize(store, (now.f_blocks - now.f_bfree) * now.f_frsize);
        }
        refused?;
        bail!("{store} has room again and again")
    }

    /// Gives all of them their room back.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        let stores = self.0.keys();
        stores
            .copied()
            .try_for_each(|store| self.resize(store, SIZE_BYTES))
    }

    fn resize(&self, store: Part, bytes: u64) -> anyhow::Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]);
        let done = mount.arg(self.of(store)?).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "mount for {store}: {said}");
        Ok(())
    }

    fn of(&self, store: Part) -> anyhow::Result<&PathBuf> {
        self.0.get(&store).context("it has no disk of its own")
    }
}
