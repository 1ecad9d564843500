//! `--until`: a point in time, as the command line says it.

use anyhow::{Context as _, bail, ensure};
use cartwright_events::{PositionToken, Timestamp};
use cartwright_read_model::versions::Until;

use crate::build::seqs;

/// The point in time that `text` says, in the log of this `generation`. Not one that is to come: the view
/// would end where the log ends, and be taken for what it is not.
pub(super) fn point(
    text: &str,
    name: &str,
    generation: u32,
    now: Timestamp,
) -> anyhow::Result<Until> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
        bail!("--name must be 1 to 64 letters, digits, '-' and '_'");
    }
    let name = name.to_owned();
    if let Ok(token) = text.parse::<PositionToken>() {
        ensure!(
            token.generation == generation,
            "--until is a position in generation {} of the log, and this log is of generation {generation}",
            token.generation
        );
        return Ok(Until {
            name,
            time: None,
            ends: seqs(&token),
        });
    }
    let time = text.parse::<Timestamp>().ok();
    let time = time.context("--until must be a time as RFC 3339 or a position token")?;
    ensure!(
        time <= now,
        "--until is after now, {now}: a view can be built only of what the log holds"
    );
    Ok(Until {
        name,
        time: Some(time),
        ends: [].into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_one_of_this_log_and_not_to_come() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-01T10:00:00Z");
        let point = |text| point(text, "then", 2, now);
        let past = point("2026-03-01T10:00:00Z").expect("the present");
        assert_eq!(past.time, Some(now));
        let error = point("2026-03-01T10:00:01Z").expect_err("to come");
        assert!(error.to_string().contains("is after now"), "{error}");
        assert_eq!(point("g2:o0=7").expect("a position").ends.len(), 1);
        let error = point("g1:o0=7").expect_err("another log").to_string();
        let both = error.contains("generation 1 ") && error.ends_with("generation 2");
        assert!(both, "{error}");
    }
}
