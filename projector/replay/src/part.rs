//! Rows in parts by their keys, so that no more of them are held than there is room for.

use cartwright_read_model::{Value, fnv64};

/// The keys whose hash leaves `part` when divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    part: u64,
    of: u64,
}

impl Part {
    /// Every key.
    pub const WHOLE: Self = Self { part: 0, of: 1 };
    /// With more parts than these they would not become smaller: it is one row after another.
    const MOST: u64 = 1 << 32;

    /// The parts of all keys, `of` of them; one at least.
    pub fn all(of: u64) -> impl Iterator<Item = Self> {
        let of = of.max(1);
        (0..of).map(move |part| Self { part, of })
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn has(self, key: &[Value]) -> bool {
        if self.of == 1 {
            return true;
        }
        let text = serde_json::to_vec(key).unwrap_or_default();
        // Not the same hash as that of a comparison's buckets, or they would be uneven; and of this one the
        // upper bits are mixed better.
        fnv64(&text).rotate_left(32) % self.of == self.part
    }

    /// Makes it half of what it was; answers the other half.
    pub fn halve(&mut self) -> Option<Self> {
        let (part, of) = (self.part + self.of, self.of * 2);
        if of > Self::MOST {
            return None;
        }
        self.of = of;
        Some(Self { part, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_part_however_often_they_are_halved() {
        let mut parts = vec![Part::WHOLE];
        for at in [0, 0, 1, 3, 2] {
            let other = parts[at].halve().expect("a half");
            parts.push(other);
        }
        let keys = || (0..2_000).map(|number| [format!("sku-{number}").into()]);
        for key in keys() {
            let of = parts.iter().filter(|part| part.has(&key));
            assert_eq!(of.count(), 1, "{key:?}");
        }
        let held = |part: &Part| keys().filter(|key| part.has(key)).count();
        assert!(parts.iter().all(|part| held(part) > 50), "about even");
        let mut smallest = Part::WHOLE;
        while smallest.halve().is_some() {}
        assert!(smallest.of == Part::MOST);
    }
}
