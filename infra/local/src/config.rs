//! What one stack is: its ports and its folders.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Result, at};
use crate::part::Part;
use crate::ports::Ports;

/// Everything that tells one stack from another.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// First port of the layout; see [`Ports`].
    pub base_port: u16,
    /// Data, logs, pid files and generated configuration of this stack; made when absent.
    pub state_dir: PathBuf,
    /// Downloaded parts; may be shared by any number of stacks.
    pub cache_dir: PathBuf,
    /// The folder the project's binaries are in.
    pub bin_dir: PathBuf,
    /// The repository, for `topics/` and `schemas/`.
    pub root: PathBuf,
    /// Whether the three services belong to the stack, or only what they stand on.
    pub with_services: bool,
    /// Nodes of command-api, 1 to [`crate::part::MAX_NODES`]; 0: as many as it was last started with.
    /// One is alone and owns all.
    pub nodes: u8,
    /// `json` or `human` logs of the services.
    pub json_logs: bool,
    /// Parts whose data is elsewhere than in the state folder's `data`, say on a file system of their own.
    pub data_dirs: BTreeMap<Part, PathBuf>,
    /// Whether parts are killed soon and often, and their disks full: their Java compiles less, which
    /// starts faster, and Cassandra acknowledges nothing that it has not written.
    pub short_lived: bool,
    /// Where the registry is told to reach its database, if not where PostgreSQL listens: a proxy, say.
    pub registry_database_port: Option<u16>,
    /// How much of its log PostgreSQL keeps before it makes a checkpoint, in MiB. More is faster.
    pub max_wal_mib: u32,
    /// Additional environment of single services, for instance `CARTWRIGHT__HTTP__…` overrides.
    pub service_env: BTreeMap<Part, Vec<(String, String)>>,
}

impl StackConfig {
    /// The stack of this checkout as the environment describes it: `CARTWRIGHT_BASE_PORT`,
    /// `CARTWRIGHT_STATE_DIR` (default `.cartwright` in the repository), `CARTWRIGHT_CACHE_DIR` (default `cache` in
    /// the default state folder), `CARTWRIGHT_ROOT`.
    ///
    /// # Errors
    /// [`StackError::BasePort`] for an unusable port, [`StackError::Io`] when no folder can be told.
    pub fn from_env() -> Result<Self> {
        let setting = env::var("CARTWRIGHT_BASE_PORT").ok();
        let base_port = Ports::parse(setting.as_deref())?.base();
        let state_dir =
            folder("CARTWRIGHT_STATE_DIR").unwrap_or_else(|| root().join(".cartwright"));
        Self::new(base_port, &state_dir)
    }

    /// A stack of its own on other ports and in another folder, for tests. Downloads are shared with the checkout's
    /// own stack.
    ///
    /// # Errors
    /// [`StackError::Io`] when the running program's folder cannot be told.
    pub fn new(base_port: u16, state_dir: &Path) -> Result<Self> {
        let root = root();
        let cache_dir = folder("CARTWRIGHT_CACHE_DIR")
            .unwrap_or_else(|| root.join(".cartwright").join("cache"));
        Ok(Self {
            base_port,
            state_dir: absolute(state_dir)?,
            cache_dir: absolute(&cache_dir)?,
            bin_dir: bin_dir()?,
            root,
            with_services: true,
            nodes: 1,
            json_logs: false,
            data_dirs: BTreeMap::new(),
            short_lived: false,
            registry_database_port: None,
            max_wal_mib: 2_048,
            service_env: BTreeMap::new(),
        })
    }

    /// Where a part's data is.
    pub fn data_dir(&self, part: Part) -> PathBuf {
        let elsewhere = self.data_dirs.get(&part).cloned();
        elsewhere.unwrap_or_else(|| self.state_dir.join("data").join(part.name()))
    }

    /// A part's log.
    pub fn log_file(&self, part: Part) -> PathBuf {
        self.state_dir.join("logs").join(format!("{part}.log"))
    }

    /// A part's pid file.
    pub fn pid_file(&self, part: Part) -> PathBuf {
        self.state_dir.join("run").join(format!("{part}.pid"))
    }

    /// The folder of generated configuration.
    pub fn config_dir(&self) -> PathBuf {
        self.state_dir.join("config")
    }

    /// A service's generated configuration.
    pub fn service_config_file(&self, part: Part) -> PathBuf {
        self.config_dir().join(format!("{part}.toml"))
    }

    /// One of the project's own programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// Makes the folders and resolves the state folder, so that one folder has one name.
    ///
    /// # Errors
    /// [`StackError::Io`] when a folder cannot be made.
    pub fn make_folders(&mut self) -> Result<()> {
        at(&self.state_dir, fs::create_dir_all(&self.state_dir))?;
        self.state_dir = at(&self.state_dir, self.state_dir.canonicalize())?;
        for name in ["data", "logs", "run", "config"] {
            let folder = self.state_dir.join(name);
            at(&folder, fs::create_dir_all(&folder))?;
        }
        at(&self.cache_dir, fs::create_dir_all(&self.cache_dir))?;
        self.cache_dir = at(&self.cache_dir, self.cache_dir.canonicalize())?;
        Ok(())
    }
}

fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The repository: what the launcher says, else where this crate was built from.
fn root() -> PathBuf {
    folder("CARTWRIGHT_ROOT").unwrap_or_else(|| {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        crate_dir
            .ancestors()
            .nth(2)
            .unwrap_or(crate_dir)
            .to_path_buf()
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    at(path, std::path::absolute(path))
}

/// The folder of the running program; a test runs one folder below the binaries.
fn bin_dir() -> Result<PathBuf> {
    let program = at(Path::new("the running program"), env::current_exe())?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let above_deps = folder.ends_with("deps").then(|| folder.parent()).flatten();
    Ok(above_deps.unwrap_or(folder).to_path_buf())
}
