//! Positions that can be sent.

use cartwright_events::{PositionToken, Stream};

/// The part of `position` that who reads `stream` needs. A position of everything that a client has
/// written has more parts than a token may have, where partitions are many.
#[must_use]
pub fn part_of(mut position: PositionToken, stream: Stream) -> PositionToken {
    position.seqs.retain(|(of, _), _| *of == stream);
    position
}
