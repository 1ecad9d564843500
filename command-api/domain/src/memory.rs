//! What an aggregate remembers of what it has done, so that a repeat can be answered for ever.
//! Compact, because it is kept for as long as the aggregate lives.

use std::collections::BTreeMap;
use std::ops::Bound;

use cartwright_events::Stream;
use serde::{Deserialize, Serialize};

/// Bytes that an entry of a map takes beside its key and value, about, and a short text on the heap.
pub(crate) const ENTRY_BYTES: usize = 48;

/// Where the events of one decision stand in their stream. They stand together: a shard numbers the
/// events of a decision one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The aggregate's version after them.
    pub(crate) version: u64,
    first_seq: u64,
    last_seq: u64,
}

impl Written {
    /// One event.
    pub(crate) const fn one(version: u64, seq: u64) -> Self {
        Self {
            version,
            first_seq: seq,
            last_seq: seq,
        }
    }

    /// One more event.
    pub(crate) fn add(&mut self, version: u64, seq: u64) {
        self.version = version;
        self.last_seq = seq;
    }

    /// Their seqs.
    pub(crate) fn seqs(&self, stream: Stream) -> Vec<(Stream, u64)> {
        (self.first_seq..=self.last_seq)
            .map(|seq| (stream, seq))
            .collect()
    }
}

/// A 64-bit digest of a command's content (FNV-1a): the same content gives the same digest, also in
/// another process. It tells a repeat from a reference that was used for something else; it keeps
/// nobody from making two contents alike on purpose, which would only fool the caller itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Of nothing.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// With a number.
    pub(crate) fn number(self, number: i64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// With a text; its length goes in first, so that texts cannot run into each other.
    pub(crate) fn text(self, text: &str) -> Self {
        self.number(text.len() as i64).bytes(text.as_bytes())
    }

    /// With a text that may be missing.
    pub(crate) fn maybe_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    /// With a number that may be missing.
    pub(crate) fn maybe_number(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }
}

/// The keys of `map` that come after `after`, in order.
pub(crate) fn keys_after<'a, V>(
    map: &'a BTreeMap<String, V>,
    after: Option<&str>,
) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let range = map.range::<str, _>((from, Bound::Unbounded));
    Box::new(range.map(|(key, _)| key.as_str()))
}

/// A small map as a sorted vector: no memory when empty, little when it holds the few entries that
/// are usual, binary search when it holds many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmallMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let index = self
            .entries
            .binary_search_by(|(other, _)| other.cmp(key))
            .ok()?;
        self.entries.get(index).map(|(_, value)| value)
    }

    /// The value of `key`, to change.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self
            .entries
            .binary_search_by(|(other, _)| other.cmp(key))
            .ok()?;
        self.entries.get_mut(index).map(|(_, value)| value)
    }

    /// Adds an entry; false, and nothing changes, when the key is there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        match self.entries.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(_) => false,
            Err(index) => {
                self.entries.insert(index, (key, value));
                true
            }
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every entry, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_contents_apart() {
        let of = |a: &str, b: &str| Digest::new().text(a).text(b);
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(
            Digest::new().maybe_text(None),
            Digest::new().maybe_text(Some(""))
        );
        assert_ne!(
            Digest::new().maybe_number(None),
            Digest::new().maybe_number(Some(0))
        );
    }

    #[test]
    fn a_small_map_keeps_its_first_value_and_its_order() {
        let mut map = SmallMap::default();
        assert!(map.insert(2, 'b') && map.insert(1, 'a') && !map.insert(2, 'x'));
        assert_eq!(map.get(&2), Some(&'b'));
        assert_eq!(map.get(&3), None);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&1, &'a'), (&2, &'b')]);
    }

    #[test]
    fn written_lists_every_seq() {
        let mut written = Written::one(1, 7);
        written.add(3, 9);
        assert_eq!(written.version, 3);
        let seqs: Vec<u64> = written
            .seqs(Stream::Cart)
            .iter()
            .map(|(_, seq)| *seq)
            .collect();
        assert_eq!(seqs, [7, 8, 9]);
    }
}
