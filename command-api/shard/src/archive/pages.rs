//! Pages of the index, kept in the snapshots topic: a take-over reads them and what was written since the
//! last one, and not every snapshot there is.
//!
//! A page lists aggregates that have left memory, each with where its last snapshot is; of two entries for
//! one the later holds. It says nothing of those that came back: they are in memory at any take-over, or
//! have left again by a later entry. A page is written when enough have left, in one of the shard's own
//! transactions, under a key of its own, so that it stays; each round's beginning names all of them. One
//! that can't be read only costs time, as the snapshots are read then.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::IdHash;
use crate::snapshots::format::{Kind, Unreadable, Whole};

/// A hash and an offset.
const ENTRY_BYTES: usize = 24;

/// An aggregate that has left memory, and the offset of its last snapshot.
pub(crate) type Departure = (IdHash, u64);

/// Where the pages are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paged {
    /// Their offsets, in the order in which they were written.
    pub(crate) at: Vec<u64>,
    /// Whoever left with a record before this offset is in one of them.
    pub(crate) to: u64,
}

/// The pages of one shard, and what the next ones will list.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    paged: Paged,
    /// Those that left since, in the order of their records.
    since: Vec<Departure>,
}

/// A page in the making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextPage {
    /// Entries.
    pub(crate) len: usize,
    /// The offset before which nobody has left who is in no page then.
    to: u64,
}

impl Pages {
    /// `since`: those that left by records from where `paged` ends on, in their order.
    pub(super) fn new(paged: Paged, since: Vec<Departure>) -> Self {
        Self { paged, since }
    }

    pub(super) fn paged(&self) -> &Paged {
        &self.paged
    }

    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES * self.since.capacity() + size_of::<u64>() * self.paged.at.len()
    }

    /// Somebody has left by the record at `offset`. One that is known already is passed over: it came
    /// back and left unchanged, or is read once more.
    pub(super) fn note(&mut self, id: IdHash, offset: u64) {
        let last = self.since.last().map(|(_, last)| last + 1);
        if offset >= last.unwrap_or(self.paged.to) {
            self.since.push((id, offset));
        }
    }

    /// With what has left since then.
    pub(super) fn followed_by(mut self, later: Self) -> Self {
        for (id, offset) in later.since {
            self.note(id, offset);
        }
        self
    }

    /// The next page, when there are `len` for it. All that left before `known_to` has been noted.
    pub(super) fn next(&self, len: usize, known_to: u64) -> Option<NextPage> {
        let (_, rest) = self.since.split_at_checked(len)?;
        let to = rest.first().map_or(known_to, |(_, offset)| *offset);
        Some(NextPage { len, to })
    }

    /// What a page holds.
    pub(super) fn content(&self, page: NextPage) -> String {
        encode(&self.since[..page.len])
    }

    /// The page is committed, at `offset`.
    pub(super) fn written(&mut self, page: NextPage, offset: u64) {
        self.since.drain(..page.len);
        self.paged.at.push(offset);
        self.paged.to = page.to;
    }
}

fn encode(departures: &[Departure]) -> String {
    let mut bytes = Vec::with_capacity(ENTRY_BYTES * departures.len());
    for ((first, second), offset) in departures {
        for number in [first, second, offset] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    STANDARD_NO_PAD.encode(bytes)
}

/// What a page lists.
pub(super) fn read(page: &Whole) -> Result<Vec<Departure>, Unreadable> {
    let unreadable = |problem: String| Unreadable {
        offset: page.offset,
        problem,
    };
    if page.kind != Kind::Page {
        return Err(unreadable(format!("it is no page but {}", page.name)));
    }
    let text: String = page.read()?;
    let bytes = STANDARD_NO_PAD.decode(text);
    let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
    let (entries, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
        return Err(unreadable("its last entry is cut off".to_owned()));
    };
    let departures = entries.iter().map(|entry| {
        let (numbers, _) = entry.as_chunks();
        let number = |index: usize| u64::from_be_bytes(numbers[index]);
        ((number(0), number(1)), number(2))
    });
    Ok(departures.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &str) -> Whole {
        Whole {
            kind: Kind::Page,
            name: "7".to_owned(),
            transaction: 7,
            offset: 40,
            as_of: None,
            json: json.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let departures = vec![((1, u64::MAX), 2), ((3, 4), 1 << 40)];
        let content = encode(&departures);
        assert_eq!(read(&page(&format!("\"{content}\""))), Ok(departures));
        let cut = format!("\"{}\"", &content[..content.len() - 4]);
        assert!(read(&page(&cut)).is_err());
        assert!(read(&page("[]")).is_err());
    }

    #[test]
    fn who_left_is_on_one_page_and_in_the_order_of_leaving() {
        let mut pages = Pages::default();
        for (id, offset) in [(1, 3), (2, 5), (1, 3), (3, 9)] {
            pages.note((id, id), offset);
        }
        assert_eq!(pages.next(4, 12), None, "what is known is not noted again");
        let first = pages.next(2, 12).expect("a page");
        assert_eq!(first.to, 9, "one more has left before 12");
        pages.written(first, 20);
        pages.note((2, 2), 5);
        let second = pages.next(1, 12).expect("another");
        assert_eq!(second.to, 12);
        pages.written(second, 30);
        let paged = pages.paged();
        assert_eq!((paged.at.as_slice(), paged.to), ([20, 30].as_slice(), 12));
        assert_eq!(pages.next(1, 12), None);
    }
}
