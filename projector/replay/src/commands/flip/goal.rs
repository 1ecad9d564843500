//! How far a version has to be to become current.

use std::time::{Duration, Instant};

use cartwright_read_model::versions::{FlipCheck, Refused, Versions};
use cartwright_read_model::{Position, PositionKey};

/// Where the current version was when it was looked at: what the next one has to have applied.
///
/// It is kept for a few attempts. Two versions are fed by consumers of their own, each a batch ahead of
/// the other now and then; with new positions of both at each attempt, there may be no instant at which
/// one holds every partition of the other, for as long as traffic flows.
///
/// What is promised does not depend on the instant. That no request sees a mixture is because every request
/// is answered from one version, wherever it is. That nothing is missing which a reader was told to wait
/// for is because a token is held against the positions of the version that answers. What is left is that
/// whoever reads without a token may once see what is older than what he saw, as between two readers of
/// which only one has seen the switch. So the goal is not kept for longer than [`Goal::LIFE`]: a version
/// that is further behind does not become current.
pub(super) struct Goal {
    /// The version that was current.
    of: u32,
    pub(super) positions: Vec<(PositionKey, Position)>,
    looked_at: Instant,
}

impl Goal {
    /// How long it is kept.
    const LIFE: Duration = Duration::from_secs(5);

    /// What is known, if it still is that of `current`; otherwise what `look` says.
    pub(super) fn of(
        known: &mut Option<Self>,
        current: u32,
        now: Instant,
        look: impl FnOnce() -> anyhow::Result<Vec<(PositionKey, Position)>>,
    ) -> anyhow::Result<&Self> {
        let is_good = |goal: &Self| goal.of == current && now - goal.looked_at < Self::LIFE;
        let goal = match known.take().filter(is_good) {
            Some(goal) => goal,
            None => Self {
                of: current,
                positions: look()?,
                looked_at: now,
            },
        };
        Ok(known.insert(goal))
    }

    /// Makes `to` current, unless somebody else has switched since the goal was chosen.
    pub(super) fn flip(
        &self,
        versions: &Versions,
        to: u32,
        check: &FlipCheck<'_>,
        force: bool,
    ) -> Result<Versions, Refused> {
        let (looked_at, current) = (self.of, versions.current);
        match current == looked_at || current == to {
            true => versions.flip(to, check, force),
            false => Err(Refused::Switched { looked_at, current }),
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections::SALES;

    use super::*;

    /// The positions of a version that has applied so many events of each partition.
    fn applied(version: u32, seqs: [u64; 2]) -> Vec<(PositionKey, Position)> {
        let partitions = (0..).zip(seqs).map(|(partition, seq)| {
            let key = PositionKey {
                projection: SALES.name,
                version,
                stream: SALES.streams[0],
                partition,
            };
            let position = Position {
                generation: 1,
                next_offset: seq * 2,
                seq,
                recorded_at: Timestamp::EPOCH,
            };
            (key, position)
        });
        partitions.collect()
    }

    fn live() -> Versions {
        let one = Versions::begin(&SALES, 1, Timestamp::EPOCH);
        let added = one.add(&SALES, 2, Default::default(), Timestamp::EPOCH);
        added.and_then(|added| added.built(2)).expect("live")
    }

    #[test]
    fn a_version_that_is_ahead_here_and_behind_there_is_switched_to_under_traffic() {
        let (versions, begun) = (live(), Instant::now());
        let mut known = None;
        // At every look each is a batch ahead of the other in one partition.
        let attempts = (0_u64..5).map(|attempt| {
            let at = 100 + attempt * 10;
            let now = begun + Duration::from_millis(500) * attempt as u32;
            let look = || Ok(applied(1, [at + 5, at]));
            let goal = Goal::of(&mut known, 1, now, look).expect("looked");
            let check = FlipCheck {
                current: &goal.positions,
                next: &applied(2, [at, at + 5]),
                verified: false,
                max_age: Duration::ZERO,
                now: Timestamp::EPOCH,
            };
            goal.flip(&versions, 2, &check, false).is_ok()
        });
        assert_eq!(
            attempts.collect::<Vec<_>>(),
            [false, true, true, true, true]
        );
    }

    #[test]
    fn what_a_version_has_to_have_applied_is_seldom_looked_for_and_of_the_current_one() {
        let (mut known, begun) = (None, Instant::now());
        let mut at = |current, seconds, seq| {
            let now = begun + Duration::from_secs(seconds);
            let look = || Ok(applied(current, [seq; 2]));
            let goal = Goal::of(&mut known, current, now, look).expect("looked");
            (goal.of, goal.positions[0].1.seq)
        };
        assert_eq!(at(1, 0, 10), (1, 10));
        assert_eq!(at(1, 4, 20), (1, 10));
        assert_eq!(at(1, 5, 30), (1, 30), "one that lags for long is behind");
        assert_eq!(at(3, 6, 7), (3, 7), "somebody else has switched");
    }

    #[test]
    fn what_was_read_of_a_version_that_is_current_no_more_switches_nothing() {
        let positions = applied(1, [9; 2]);
        let mut known = None;
        let goal = Goal::of(&mut known, 7, Instant::now(), || Ok(positions.clone()));
        let goal = goal.expect("looked");
        let check = FlipCheck {
            current: &goal.positions,
            next: &positions,
            verified: false,
            max_age: Duration::ZERO,
            now: Timestamp::EPOCH,
        };
        let refused = goal.flip(&live(), 2, &check, true).expect_err("not 7");
        let switched = Refused::Switched {
            looked_at: 7,
            current: 1,
        };
        assert_eq!(refused, switched);
        let current = goal.flip(&live(), 1, &check, true).expect_err("it is");
        assert_eq!(current, Refused::IsCurrent(1));
    }
}
