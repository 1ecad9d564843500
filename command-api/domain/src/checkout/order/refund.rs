//! Which lines a refund belongs to.

use cartwright_events::order::RefundShare;

use super::state::{Line, Placed};

/// Shares a refund out over the order's lines; the shares add up to `amount_minor`.
///
/// First come the dues of returns, in their order, each as far as its line has charge left that was
/// not refunded. The rest goes over the lines in proportion to that charge, by the largest remainder
/// (ties: the lower line number). What is beyond all charges goes on the first line.
pub(super) fn shares(placed: &Placed, amount_minor: i64) -> Vec<RefundShare> {
    let mut parts: Vec<Part<'_>> = placed.lines.iter().map(Part::of).collect();
    let mut rest = amount_minor;
    for due in &placed.return_dues {
        let Ok(index) = placed
            .lines
            .binary_search_by_key(&due.line, |line| line.line)
        else {
            continue;
        };
        if let Some(part) = parts.get_mut(index) {
            let share = due.amount_minor.min(part.left_minor).min(rest);
            part.take(share);
            rest = rest.saturating_sub(share);
        }
    }
    let left = parts
        .iter()
        .fold(0i64, |sum, part| sum.saturating_add(part.left_minor));
    if rest < left {
        in_proportion(&mut parts, rest, left);
    } else {
        rest = rest.saturating_sub(left);
        parts.iter_mut().for_each(|part| part.take(part.left_minor));
        if let Some(first) = parts.first_mut() {
            first.share_minor = first.share_minor.saturating_add(rest);
        }
    }
    parts
        .into_iter()
        .filter(|part| part.share_minor > 0)
        .map(|part| RefundShare {
            line: part.line.line,
            sku: part.line.sku.clone(),
            amount_minor: part.share_minor,
        })
        .collect()
}

/// A line's part of a refund.
struct Part<'a> {
    line: &'a Line,
    /// Charge that was not refunded.
    left_minor: i64,
    share_minor: i64,
}

impl<'a> Part<'a> {
    fn of(line: &'a Line) -> Self {
        Self {
            line,
            left_minor: line.charge_minor.saturating_sub(line.refunded_minor).max(0),
            share_minor: 0,
        }
    }

    fn take(&mut self, share: i64) {
        self.share_minor = self.share_minor.saturating_add(share);
        self.left_minor = self.left_minor.saturating_sub(share);
    }
}

/// Shares `amount` out by what is left of each part; `amount` is below the sum `left`.
fn in_proportion(parts: &mut [Part<'_>], amount: i64, left: i64) {
    let (amount, left) = (i128::from(amount), i128::from(left.max(1)));
    let mut given = 0i128;
    let mut remainders: Vec<(i128, usize)> = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter_mut().enumerate() {
        // Both factors fit into 64 bits, so the product fits into 128.
        let product = amount * i128::from(part.left_minor);
        let share = product / left;
        given += share;
        remainders.push((product % left, index));
        // The quotient is at most what is left of the part.
        part.take(i64::try_from(share).unwrap_or(i64::MAX));
    }
    // Fewer units are missing than there are remainders above zero.
    remainders.sort_by_key(|(remainder, index)| (std::cmp::Reverse(*remainder), *index));
    let missing = usize::try_from(amount - given).unwrap_or(0);
    for (_, index) in remainders.into_iter().take(missing) {
        if let Some(part) = parts.get_mut(index) {
            part.take(1);
        }
    }
}
