//! The short fault run. A longer one: `./cartwright chaos --minutes 30`.

use std::process::Command;

#[test]
fn two_minutes_of_faults_end_in_a_clean_verdict() {
    let folder = std::env::temp_dir().join(format!("cartwright-chaos-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_cartwright-chaos"))
        .args(["--minutes", "2", "--base-port", "7800", "--state-dir"])
        .arg(&folder)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n{complained}\nlogs and history: {}",
        folder.display()
    );
    let _ = std::fs::remove_dir_all(folder);
}
