//! A clock that is off, and how that shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::process::Command;

const SOURCE: &str = include_str!("skew.c");
const OFFSET: &str = "CHAOS_CLOCK_OFFSET_S";

/// Makes the library that shifts a process's clock; `None` without a C compiler.
pub(crate) async fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("skew.c"), folder.join("skew.so"));
    fs::write(&source, SOURCE).ok()?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]);
    let made = compile
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .output()
        .await;
    made.is_ok_and(|made| made.status.success())
        .then_some(library)
}

/// What starts a process with a clock that is off by so many seconds.
pub(crate) fn environment(library: &Path, seconds: i64) -> [(&'static str, String); 2] {
    [
        ("LD_PRELOAD", library.display().to_string()),
        (OFFSET, seconds.to_string()),
    ]
}

/// By how many seconds an HTTP date (RFC 9110: `Sun, 06 Nov 1994 08:49:37 GMT`) is off from this
/// program's own time, by the second of the day; to half a day either way.
pub(crate) fn told_offset(date: &str) -> Option<i64> {
    const DAY: i64 = 86_400;
    let clock = date.split_whitespace().nth(4)?;
    let mut parts = clock.split(':').map(str::parse::<i64>);
    let mut next = || parts.next()?.ok();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    let told = (hours * 60 + minutes) * 60 + seconds;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let now = i64::try_from(now).ok()? % DAY;
    Some((told - now + DAY / 2).rem_euclid(DAY) - DAY / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_compared_over_midnight_too() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for by in [-20, 0, 3] {
            let told = (i64::try_from(now.as_secs()).unwrap() + by).rem_euclid(86_400);
            let date = format!(
                "Sun, 06 Nov 1994 {:02}:{:02}:{:02} GMT",
                told / 3_600,
                told / 60 % 60,
                told % 60
            );
            let off = told_offset(&date).unwrap();
            assert!((off - by).abs() <= 1, "{date}: {off}");
        }
        assert_eq!(told_offset("yesterday"), None);
    }

    #[tokio::test]
    async fn a_process_has_the_time_that_it_is_given() {
        let folder = std::env::temp_dir();
        let library = library(&folder).await.expect("a C compiler");
        let told = Command::new("date")
            .args(["-u", "+Sun, 06 Nov 1994 %H:%M:%S GMT"])
            .envs(environment(&library, -3_600))
            .output()
            .await
            .unwrap();
        let off = told_offset(String::from_utf8(told.stdout).unwrap().trim()).unwrap();
        assert!((off + 3_600).abs() <= 1, "{off}");
    }
}
