//! The checker finds every violation that is planted for it, and has nothing to say where all is well.

use std::path::Path;
use std::process::Command;

#[test]
fn the_checker_finds_what_is_planted() {
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest"])
        .args([
            "test_log",
            "test_history",
            "test_refusals",
            "test_books",
            "test_read_model",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("checker"))
        .output()
        .expect("python3 is needed to run the checker");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("Ran ") && !said.contains("Ran 0 "),
        "no test was found: {said}"
    );
}
