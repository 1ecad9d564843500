//! Headers of a record that was read.

use std::fmt;

/// Of a name and its value together, in a shard's records; room for them is made at once.
const USUAL_BYTES: usize = 36;

/// Headers in the order in which they were written; a name may occur more than once.
///
/// All names and values are in one piece of memory: a shard's record has ten, and a recovery or a rebuild
/// reads millions of records.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers {
    bytes: Vec<u8>,
    /// Where each name and its value end in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Of names and values.
    pub fn of<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let (count, _) = headers.size_hint();
        let mut all = Self {
            bytes: Vec::with_capacity(count * USUAL_BYTES),
            ends: Vec::with_capacity(count),
        };
        for (name, value) in headers {
            all.bytes.extend_from_slice(name.as_bytes());
            let name_end = all.bytes.len();
            all.bytes.extend_from_slice(value);
            all.ends.push((name_end, all.bytes.len()));
        }
        all
    }

    /// The value of the first one called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut parts = self.parts();
        parts
            .find(|(header, _)| *header == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        let name = |name| std::str::from_utf8(name).unwrap_or_default();
        self.parts()
            .map(move |(header, value)| (name(header), value))
    }

    fn parts(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
        starts
            .zip(&self.ends)
            .map(move |(start, (name_end, end))| (part(start, *name_end), part(*name_end, *end)))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self
            .iter()
            .map(|(name, value)| (name, value.escape_ascii().to_string()));
        f.debug_list().entries(texts).finish()
    }
}
