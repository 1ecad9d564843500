//! Rows in parts by their keys, so that no more of them are held than there is room for.

use cartwright_read_model::Value;

use super::written::hash;

/// The rows whose hash leaves `part` when divided by `of`, a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    part: u64,
    of: u64,
}

impl Part {
    /// Every row.
    pub(super) const WHOLE: Self = Self { part: 0, of: 1 };
    /// With more parts than these they would not become smaller: it is one row after another.
    const MOST: u64 = 1 << 32;

    /// Whether a row is in it.
    pub(super) fn has(self, table: &str, key: &[Value]) -> bool {
        // Of this hash the upper bits are mixed better.
        self.of == 1 || hash(table, key).rotate_left(32) % self.of == self.part
    }

    /// Makes it half of what it was; answers the other half.
    pub(super) fn halve(&mut self) -> Option<Self> {
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
        for number in 0..2_000 {
            let key = [format!("sku-{number}").into()];
            let of = parts.iter().filter(|part| part.has("products", &key));
            assert_eq!(of.count(), 1, "{number}");
        }
        let held = |part: &Part| {
            let keys = (0..2_000).map(|number| [format!("sku-{number}").into()]);
            keys.filter(|key| part.has("products", key)).count()
        };
        assert!(parts.iter().all(|part| held(part) > 50), "about even");
        let mut smallest = Part::WHOLE;
        while smallest.halve().is_some() {}
        assert!(smallest.of == Part::MOST);
    }
}
