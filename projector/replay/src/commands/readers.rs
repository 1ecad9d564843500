//! Waiting for those who read a projection's versions.

use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::Reader;

use crate::registry::Home;

/// How often they are asked for.
pub(super) const POLL: Duration = Duration::from_millis(200);
/// How much longer than a reader's own bound it is waited for, for what clocks differ.
const SKEW: Duration = Duration::from_secs(5);
/// A reader that has said nothing for so long is not coming back.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Seconds that reads which have begun may take.
pub(super) const READS_S: u64 = 35;

/// Waits until every reader that lives follows; answers how many live and do.
pub(super) fn until_followed(
    home: &Home<'_>,
    follows: impl Fn(&Reader) -> bool,
    deadline: Instant,
) -> anyhow::Result<(usize, usize)> {
    loop {
        let readers = home.ask(home.control.readers(home.projection.name))?;
        let alive: Vec<&Reader> = readers.iter().filter(|reader| is_alive(reader)).collect();
        let following = alive.iter().filter(|reader| follows(reader));
        let following = following.count();
        if following == alive.len() || Instant::now() >= deadline {
            return Ok((alive.len(), following));
        }
        std::thread::sleep(POLL);
    }
}

/// A reader that has said nothing for longer than its own bound answers nothing from these versions
/// any more.
fn is_alive(reader: &Reader) -> bool {
    let bound = Duration::from_millis(reader.pointer_max_age_ms) + SKEW;
    !is_silent(reader, bound, Timestamp::now())
}

fn is_silent(reader: &Reader, for_longer_than: Duration, now: Timestamp) -> bool {
    let silent_us = now.as_micros() - reader.seen_at.as_micros();
    i128::from(silent_us) > for_longer_than.as_micros() as i128
}

/// Removes what readers said of themselves that were killed, and so could not do it. One that comes
/// back after all says it again.
pub(super) fn forget_the_dead(home: &Home<'_>) -> anyhow::Result<()> {
    let name = home.projection.name;
    let now = Timestamp::now();
    for reader in home.ask(home.control.readers(name))? {
        if is_silent(&reader, FORGOTTEN_AFTER, now) {
            home.ask(home.control.forget_reader(name, &reader.instance))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_waited_for_while_it_may_answer_and_remembered_for_longer() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let reader = Reader {
            instance: "one".to_owned(),
            revision: 1,
            serves: 1,
            pointer_max_age_ms: 5_000,
            seen_at: at(10_000),
        };
        let bound = Duration::from_millis(5_000) + SKEW;
        assert!(!is_silent(&reader, bound, at(10_010)));
        assert!(is_silent(&reader, bound, at(10_011)));
        assert!(!is_silent(&reader, FORGOTTEN_AFTER, at(13_600)));
        assert!(is_silent(&reader, FORGOTTEN_AFTER, at(13_601)));
        assert!(!is_silent(&reader, bound, at(9_000)), "its clock is ahead");
    }
}
