//! A short run on a real cluster, judged; and that nothing is left of one that is told to stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const FIRST_BASE_PORT: u16 = 23_000;
const PORTS: u16 = 100;
/// Long enough for snapshots, for orders that leave memory and come back, and for results to be forgotten. Every
/// family strikes, however busy the machine is.
const MINUTES: &str = "2";
/// On a new machine the first run downloads the brokers and the checker's environment first.
const FIRST_START_LIMIT: Duration = Duration::from_secs(600);
/// From the signal to the end of every process.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// A run that is told to stop when the test gives up on it, so that nothing of it stays.
struct Run(Child);

impl Run {
    fn tell_to_stop(&self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // One that has ended by itself was told nothing, which its exit code shows.
        let _ = kill_process(pid.expect("a pid"), Signal::TERM);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.tell_to_stop();
            let _ = self.0.wait();
        }
    }
}

fn chaos(state_dir: &Path, base_port: u16, minutes: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartwright-chaos"));
    command.args(["--minutes", minutes, "--seed", "1"]);
    command.args(["--base-port", &base_port.to_string(), "--state-dir"]);
    command.arg(state_dir).stdin(Stdio::null());
    command
}

fn free_base_port() -> u16 {
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..50)
        .map(|step| FIRST_BASE_PORT + step * PORTS)
        .find(|base| (*base..*base + PORTS).all(is_free))
        .expect("free ports")
}

/// Command lines of everything that runs for a folder.
fn processes_of(state_dir: &Path) -> Vec<String> {
    let folder = state_dir.display().to_string();
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&folder)).collect()
}

fn wait_for(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what} not within {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn stop_while_it_starts(state_dir: &Path, base_port: u16) {
    let mut run = Run(chaos(state_dir, base_port, "1").spawn().expect("the run"));
    wait_for("three brokers", FIRST_START_LIMIT, || {
        let ended = run.0.try_wait().expect("its state");
        assert_eq!(ended, None, "the run ended before it was told to");
        let brokers = processes_of(state_dir);
        let brokers = brokers.iter().filter(|line| line.contains("kafka.Kafka"));
        brokers.count() == 3
    });
    run.tell_to_stop();
    wait_for("its end", STOP_LIMIT, || {
        run.0.try_wait().expect("its state").is_some()
    });
    let status = run.0.wait().expect("its end");
    assert_eq!(status.code(), Some(2), "told to stop: no verdict");
}

/// What is in a table, by name: each line has a number first and a name last.
fn counts(table: &str) -> BTreeMap<&str, u64> {
    let lines = table.lines().filter_map(|line| {
        let (count, name) = line.trim_start().split_once("  ")?;
        Some((name.trim(), count.parse().ok()?))
    });
    lines.collect()
}

#[test]
fn a_short_run_has_a_clean_verdict_and_leaves_nothing() {
    // Not below a home folder: PostgreSQL runs as another user, who must be able to get there.
    let base_port = free_base_port();
    let state_dir: PathBuf = std::env::temp_dir().join(format!("cartwright-chaos-{base_port}"));
    stop_while_it_starts(&state_dir, base_port);
    assert_eq!(processes_of(&state_dir), [] as [&str; 0]);

    let output = chaos(&state_dir, base_port, MINUTES)
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("verdict: clean"), "{said}");
    let (_, families) = said.split_once("by family:").expect("faults by family");
    let (_, looked_at) = said.split_once("looked at:").expect("what was judged");
    let (families, looked_at) = (counts(families), counts(looked_at));
    for family in ["stores", "projectors", "nodes", "brokers", "ways"] {
        assert!(families.get(family) > Some(&0), "{family}: {said}");
    }
    for happened in [
        "rounds of snapshots completed",
        "pages of who has left memory",
        "archived orders that came back",
        "results forgotten",
        "aggregates that several clients changed",
        "told 202",
        "sent once more",
        "refusals held against what was there",
        "amounts read",
    ] {
        assert!(looked_at.get(happened) > Some(&0), "{happened}: {said}");
    }
    assert_eq!(processes_of(&state_dir), [] as [&str; 0]);
    fs::remove_dir_all(&state_dir).expect("the folder to go");
}
