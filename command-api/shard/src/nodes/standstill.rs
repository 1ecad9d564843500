//! Whether a reader stands still before an end that it has to reach.

/// A reader that comes no further for so long is made anew.
const STALL_MS: u64 = 15_000;

/// Where a reader stands in a partition, and since when.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    position: u64,
    since_ms: u64,
}

impl Standstill {
    /// Whether the reader has stood at `position` for long although it has not reached `end`: a consumer
    /// can miss that there is more, as after its broker was away, and another one does not. Says so once
    /// in that time.
    pub(crate) fn is_long(&mut self, position: u64, end: u64, now_ms: u64) -> bool {
        let stands = position < end && position == self.position;
        let is_long = stands && now_ms.saturating_sub(self.since_ms) >= STALL_MS;
        if is_long || !stands {
            self.position = position;
            self.since_ms = now_ms;
        }
        is_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_before_its_end_stands_still_and_is_told_once_in_a_while() {
        let mut standstill = Standstill::default();
        let mut at = |now_ms, position, end| standstill.is_long(position, end, now_ms);
        assert!(!at(1_000, 3, 3));
        assert!(!at(90_000, 3, 3), "there is nothing to read");
        assert!(!at(90_001, 3, 5));
        assert!(!at(104_999, 3, 9));
        assert!(at(105_000, 3, 9));
        assert!(!at(105_001, 3, 9), "another reader has just begun");
        assert!(!at(119_000, 4, 9), "it has moved");
        assert!(!at(121_000, 4, 9));
        assert!(at(134_000, 4, 9));
    }
}
