//! Position tokens: what a caller shows to read its own writes.
//!
//! A token is a vector of seqs, one per topic-partition that a command wrote to, and the log's
//! generation, which is raised when a log is restored or made anew, so that seqs of another log
//! are never compared. Text form: `g1:c0=12,o0=7` (generation 1, partition 0 of the cart stream up
//! to seq 12, partition 0 of the order stream up to seq 7).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::streams::Stream;

/// The most topic-partitions a token may name.
pub const MAX_TOKEN_ENTRIES: usize = 64;

/// A point in the log that a reader may wait for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PositionToken {
    /// The log's generation.
    pub generation: u32,
    /// Seq per topic-partition.
    pub seqs: BTreeMap<(Stream, u32), u64>,
}

/// A text is no position token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be a position token as an answer gave it, e.g. g1:c0=12,o0=7, of at most {MAX_TOKEN_ENTRIES} parts"
)]
pub struct InvalidToken;

impl PositionToken {
    /// A token of `generation` that asks for nothing yet.
    #[must_use]
    pub fn new(generation: u32) -> Self {
        Self {
            generation,
            seqs: BTreeMap::new(),
        }
    }

    /// Asks for `seq` of the topic-partition, or for what was asked already if that is more.
    pub fn raise(&mut self, stream: Stream, partition: u32, seq: u64) {
        let entry = self.seqs.entry((stream, partition)).or_default();
        *entry = seq.max(*entry);
    }

    /// The seq of the topic-partition; 0 when the token does not name it.
    #[must_use]
    pub fn seq(&self, stream: Stream, partition: u32) -> u64 {
        let seq = self.seqs.get(&(stream, partition));
        seq.copied().unwrap_or_default()
    }

    /// Takes the larger of both, part by part. Tokens of another generation are left out.
    pub fn merge(&mut self, other: &PositionToken) {
        if other.generation == self.generation {
            for (&(stream, partition), &seq) in &other.seqs {
                self.raise(stream, partition, seq);
            }
        }
    }
}

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}:", self.generation)?;
        for (index, ((stream, partition), seq)) in self.seqs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}{partition}={seq}", stream.alias())?;
        }
        Ok(())
    }
}

impl FromStr for PositionToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (generation, parts) = text
            .strip_prefix('g')
            .and_then(|rest| rest.split_once(':'))
            .ok_or(InvalidToken)?;
        let mut token = Self::new(generation.parse().map_err(|_| InvalidToken)?);
        for (index, part) in parts.split(',').filter(|part| !part.is_empty()).enumerate() {
            if index >= MAX_TOKEN_ENTRIES {
                return Err(InvalidToken);
            }
            let (place, seq) = part.split_once('=').ok_or(InvalidToken)?;
            let mut letters = place.chars();
            let alias = letters.next().ok_or(InvalidToken)?;
            let stream = Stream::ALL
                .into_iter()
                .find(|stream| stream.alias() == alias)
                .ok_or(InvalidToken)?;
            let partition = letters.as_str().parse().map_err(|_| InvalidToken)?;
            token.raise(stream, partition, seq.parse().map_err(|_| InvalidToken)?);
        }
        Ok(token)
    }
}

impl TryFrom<String> for PositionToken {
    type Error = InvalidToken;
    fn try_from(text: String) -> Result<Self, InvalidToken> {
        text.parse()
    }
}

impl From<PositionToken> for String {
    fn from(token: PositionToken) -> String {
        token.to_string()
    }
}
