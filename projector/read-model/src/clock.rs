//! The timestamps of cells in Cassandra and ScyllaDB.

use thiserror::Error;

/// The time of a write to a cell: which of two writes holds is decided by it and not by arrival.
///
/// Layout, from the highest bit: 6 bits generation of the log, 43 bits seq, 1 bit (0 a delete,
/// 1 a write). Read as microseconds since 1970 the largest is in the year 2005: ScyllaDB refuses
/// times in the future, and no write of ours can be shadowed by a client's clock unless somebody
/// writes without a time of his own.
///
/// At one seq a write has to win over a delete of the same row (a fold may replace a row), while
/// Cassandra lets a delete win at equal times; hence the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellTime(i64);

/// A generation or seq does not fit a cell's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClockError {
    /// The generation is 0 or too large.
    #[error("generation {0} is outside 1..={max}", max = CellTime::MAX_GENERATION)]
    Generation(u32),
    /// The seq is too large.
    #[error("seq {0} is above {max}", max = CellTime::MAX_SEQ)]
    Seq(u64),
}

impl CellTime {
    /// The largest generation: a log can be restored or re-created 62 times.
    pub const MAX_GENERATION: u32 = 63;
    /// The largest seq: 8.7 million million events in a partition.
    pub const MAX_SEQ: u64 = (1 << 43) - 1;

    /// The time of a write by the event `seq` of the log's `generation`.
    ///
    /// # Errors
    /// [`ClockError`] when one of them is out of range.
    pub fn write(generation: u32, seq: u64) -> Result<Self, ClockError> {
        Self::delete(generation, seq).map(|time| Self(time.0 | 1))
    }

    /// The time of a delete by the event `seq` of the log's `generation`.
    ///
    /// # Errors
    /// [`ClockError`] when one of them is out of range.
    pub fn delete(generation: u32, seq: u64) -> Result<Self, ClockError> {
        if generation == 0 || generation > Self::MAX_GENERATION {
            return Err(ClockError::Generation(generation));
        }
        match i64::try_from(seq) {
            Ok(signed) if seq <= Self::MAX_SEQ => {
                Ok(Self((i64::from(generation) << 44) | (signed << 1)))
            }
            _ => Err(ClockError::Seq(seq)),
        }
    }

    /// The number for `USING TIMESTAMP`.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_seqs_and_generations_win_and_a_write_wins_over_a_delete_of_the_same_seq() {
        let times = [
            CellTime::delete(1, 0),
            CellTime::write(1, 0),
            CellTime::delete(1, 1),
            CellTime::write(1, 1),
            CellTime::write(1, CellTime::MAX_SEQ),
            CellTime::delete(2, 0),
            CellTime::write(CellTime::MAX_GENERATION, CellTime::MAX_SEQ),
        ]
        .map(Result::unwrap);
        assert!(times.is_sorted());
        let year_2006_us = 1_136_073_600_000_000;
        assert!(times.iter().all(|time| time.as_micros() < year_2006_us));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(CellTime::write(0, 1), Err(ClockError::Generation(0)));
        assert_eq!(CellTime::write(64, 1), Err(ClockError::Generation(64)));
        let seq = CellTime::MAX_SEQ + 1;
        assert_eq!(CellTime::write(1, seq), Err(ClockError::Seq(seq)));
        assert_eq!(
            CellTime::delete(1, u64::MAX),
            Err(ClockError::Seq(u64::MAX))
        );
    }
}
