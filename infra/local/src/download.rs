//! Brings the parts' programs into the cache folder, once for all stacks, through Maven.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::error::{Result, StackError, at};
use crate::part::Part;
use crate::progress::Progress;

/// The Maven build that names every version, as path and text.
const POMS: [(&str, &str); 6] = [
    ("pom.xml", include_str!("../maven/pom.xml")),
    ("kafka/pom.xml", include_str!("../maven/kafka/pom.xml")),
    (
        "cassandra/pom.xml",
        include_str!("../maven/cassandra/pom.xml"),
    ),
    (
        "postgres/pom.xml",
        include_str!("../maven/postgres/pom.xml"),
    ),
    (
        "registry/pom.xml",
        include_str!("../maven/registry/pom.xml"),
    ),
    (
        "registry-parent/pom.xml",
        include_str!("../maven/registry-parent/pom.xml"),
    ),
];

/// Written last; a folder without it is an interrupted download.
const COMPLETE: &str = "complete";

/// The downloaded programs.
#[derive(Debug, Clone)]
pub struct Library {
    dir: PathBuf,
}

impl Library {
    /// Where the programs of the pinned versions are or will be: another pin is another folder.
    pub fn in_cache(cache_dir: &Path) -> Self {
        Self {
            dir: cache_dir.join(format!("parts-{}", pins_hash())),
        }
    }

    /// Whether everything is there.
    pub fn is_complete(&self) -> bool {
        self.dir.join(COMPLETE).exists()
    }

    /// The Java class path of a part.
    pub fn class_path(&self, part: Part) -> String {
        format!("{}/*", self.dir.join(part.name()).display())
    }

    /// A part's archive of loaded classes, which halves its boot; it fits one Java only.
    pub fn class_archive(&self, part: Part, java_version: &str) -> PathBuf {
        self.dir.join(format!("{part}-{java_version}.jsa"))
    }

    /// Where a part on `base_port` writes such an archive as it ends.
    pub fn fresh_class_archive(&self, part: Part, java_version: &str, base_port: u16) -> PathBuf {
        let whole = self.class_archive(part, java_version).into_os_string();
        PathBuf::from(whole.into_string().unwrap_or_default() + &fresh_suffix(base_port))
    }

    /// Puts to use what a part wrote as it ended by itself; one that was killed may have left half of it.
    pub fn keep_class_archive(&self, part: Part, base_port: u16, ended_by_itself: bool) {
        let suffix = fresh_suffix(base_port);
        for path in files_in(&self.dir) {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let whole = name
                .strip_suffix(&suffix)
                .filter(|whole| whole.starts_with(part.name()));
            if let Some(whole) = whole {
                // Boots are slower without it, that is all.
                let _ = if ended_by_itself {
                    fs::rename(&path, self.dir.join(whole))
                } else {
                    fs::remove_file(&path)
                };
            }
        }
    }

    /// One of PostgreSQL's programs.
    pub fn postgres_program(&self, name: &str) -> PathBuf {
        self.dir
            .join("postgres")
            .join("dist")
            .join("bin")
            .join(name)
    }

    /// The registry's runnable jar.
    ///
    /// # Errors
    /// [`StackError::Io`] when the folder cannot be read or holds none.
    pub fn registry_jar(&self) -> Result<PathBuf> {
        find_file(&self.dir.join("registry"), "-runner.jar")
    }
}

/// Downloads what is missing. Concurrent callers wait for one another.
///
/// # Errors
/// [`StackError::Missing`] without Maven, [`StackError::Download`] when Maven fails, [`StackError::Tool`] when
/// PostgreSQL's archive cannot be unpacked.
pub async fn fetch(cache_dir: &Path, progress: &Progress) -> Result<Library> {
    let library = Library::in_cache(cache_dir);
    if library.is_complete() {
        return Ok(library);
    }
    progress.step(
        "download",
        "Kafka, Cassandra, PostgreSQL and the registry (about 250 MB, once)",
    );
    let _lock = lock(&cache_dir.join("download.lock")).await?;
    if library.is_complete() {
        return Ok(library);
    }
    // Maven's marker files lie beside its poms, so that they go together with what they stand for.
    let build = library.dir.join("build");
    for (name, text) in POMS {
        let path = build.join(name);
        let folder = path.parent().unwrap_or(&build);
        at(folder, fs::create_dir_all(folder))?;
        at(&path, fs::write(&path, text))?;
    }
    run_maven(&library.dir, &build, cache_dir, progress).await?;
    unpack_postgres(&library.dir.join("postgres")).await?;
    let complete = library.dir.join(COMPLETE);
    at(&complete, fs::write(&complete, ""))?;
    progress.done("download", "complete");
    Ok(library)
}

async fn run_maven(libs: &Path, build: &Path, cache_dir: &Path, progress: &Progress) -> Result<()> {
    let log_path = cache_dir.join("maven.log");
    let mut log = at(&log_path, File::create(&log_path))?;
    let child = Command::new("mvn")
        .args(["-B", "-T", "2", "-f"])
        .arg(build.join("pom.xml"))
        .arg("generate-resources")
        .arg(format!("-Dcartwright.libs={}", libs.display()))
        .arg(format!("-Dpostgres.arch={}", postgres_arch()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(at(&log_path, log.try_clone())?)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|_| StackError::Missing {
        what: "Maven (mvn)".to_owned(),
        remedy: "install it with: apt-get install -y maven".to_owned(),
    })?;
    let mut files = 0;
    let mut first_error = None;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // The log is a courtesy: a full disk shows itself in Maven's own failure.
            let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
            if line.contains("Downloaded from") {
                files += 1;
                let name = line.split('/').next_back().unwrap_or_default();
                progress.detail("download", &format!("{files} files, last: {name}"));
            } else if line.starts_with("[ERROR]") && first_error.is_none() {
                first_error = Some(line.trim_start_matches("[ERROR] ").to_owned());
            }
        }
    }
    let status = at(build, child.wait().await)?;
    if status.success() {
        return Ok(());
    }
    progress.failed("download");
    // What it says before it has a log of its own, it says on stderr.
    let said = fs::read_to_string(&log_path).unwrap_or_default();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    let reason = first_error.or_else(|| last.map(str::to_owned));
    let reason = reason.unwrap_or_else(|| format!("Maven ended with {status}"));
    Err(StackError::Download {
        reason,
        log: log_path,
    })
}

/// The jar holds one archive for the machine's architecture.
async fn unpack_postgres(dir: &Path) -> Result<()> {
    let archive = find_file(dir, ".txz")?;
    let target = dir.join("dist");
    at(&target, fs::create_dir_all(&target))?;
    let output = Command::new("tar")
        .arg("-xJf")
        .arg(&archive)
        .arg("-C")
        .arg(&target)
        .output()
        .await;
    let output = at(&archive, output)?;
    if output.status.success() {
        return Ok(());
    }
    Err(StackError::Tool {
        what: format!("tar -xJf {} (needs xz-utils)", archive.display()),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn fresh_suffix(base_port: u16) -> String {
    format!(".of-{base_port}")
}

fn files_in(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn find_file(dir: &Path, suffix: &str) -> Result<PathBuf> {
    let found = files_in(dir).find(|path| path.to_string_lossy().ends_with(suffix));
    found.ok_or_else(|| StackError::Io {
        path: dir.to_path_buf(),
        source: std::io::Error::other(format!("no file ends in {suffix}")),
    })
}

/// Takes an exclusive file lock, waiting as long as another holds it; it goes with the returned file.
pub(crate) async fn lock(path: &Path) -> Result<File> {
    let file = at(
        path,
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path),
    )?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(StackError::Io {
                    path: path.to_path_buf(),
                    source,
                });
            }
        }
    }
}

fn pins_hash() -> String {
    let mut hasher = Sha256::new();
    for (name, text) in POMS {
        hasher.update(name);
        hasher.update(text);
    }
    hasher
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn postgres_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64v8"
    } else {
        "amd64"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_parent_has_the_registrys_version() {
        let pinned = POMS[0].1.split("<apicurio.version>").nth(1).unwrap();
        let version = pinned.split('<').next().unwrap();
        assert!(
            POMS[5].1.contains(&format!("<version>{version}</version>")),
            "{version}"
        );
    }

    #[test]
    fn a_folder_without_the_marker_is_not_complete() {
        let library = Library::in_cache(Path::new("/nonexistent"));
        assert!(!library.is_complete());
        assert!(library.class_path(Part::Kafka).ends_with("/kafka/*"));
    }
}
