//! What things of the file are called in the shop. Every id and reference derives from the file's own
//! numbers, so that a repeat names the same things, and the shop knows those for ever.
//!
//! Idempotency keys hold the run as well. Within a run a retry gets the answer that was given; under the
//! keys of an earlier run it would get that run's refusals too, whatever has been mended since, and
//! another file's product would be taken for a misused key.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::client::segment;

/// Longest id of a cart.
const MAX_ID_BYTES: usize = 64;
/// Longest idempotency key that is sent as text.
const MAX_KEY_BYTES: usize = 128;

/// Names within one namespace: imports of different shops do not meet each other.
#[derive(Debug, Clone)]
pub struct Naming {
    namespace: String,
    run: String,
}

impl Naming {
    /// Names that start with `namespace`, and keys of the run with this number.
    #[must_use]
    pub fn new(namespace: &str, run: u64) -> Self {
        Self {
            namespace: id_text(namespace),
            run: format!("{run:016x}"),
        }
    }

    /// The cart, and so the order, of an invoice. `attempt` counts from 1; a second one is made only
    /// when the order of the first ended unpaid (its payment deadline passed while the import was
    /// not running).
    #[must_use]
    pub fn cart(&self, invoice: &str, attempt: u8) -> String {
        let again = if attempt > 1 {
            format!(".{attempt}")
        } else {
            String::new()
        };
        shortened(
            format!("{}-{}{again}", self.namespace, id_text(invoice)),
            MAX_ID_BYTES,
        )
    }

    /// A delivery of `units` for the file with this digest.
    #[must_use]
    pub fn receipt(&self, digest_hex: &str, units: i64) -> String {
        let digest: String = digest_hex.chars().take(16).collect();
        format!("{}-{digest}-{units}", self.namespace)
    }

    /// What a cancellation does to one order.
    #[must_use]
    pub fn taken_back(&self, cancellation: &str, order: &str) -> String {
        let cancellation = id_text(cancellation);
        shortened(
            format!("{}-{cancellation}-{order}", self.namespace),
            MAX_KEY_BYTES,
        )
    }

    /// The idempotency key of a step about `what`, in this run.
    #[must_use]
    pub fn key(&self, step: &str, what: &str) -> String {
        let Self { namespace, run } = self;
        shortened(
            format!("{namespace}-{run}-{step}-{}", segment(what)),
            MAX_KEY_BYTES,
        )
    }
}

/// `text` with everything that an id cannot hold written as `~` and two hexadecimal digits.
fn id_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "~{byte:02X}");
        }
    }
    out
}

/// `text`, or its beginning and a digest where it is longer than `most` bytes of ASCII.
fn shortened(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let digest = Sha256::digest(text.as_bytes());
    let tail: String = digest
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let head: String = text.chars().take(most - tail.len() - 1).collect();
    format!("{head}~{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_every_time_and_differ_by_invoice_and_attempt() {
        let naming = Naming::new("retail", 7);
        assert_eq!(naming.cart("536365", 1), "retail-536365");
        assert_eq!(naming.cart("536365", 2), "retail-536365.2");
        assert_eq!(
            naming.taken_back("C536379", "retail-536365"),
            "retail-C536379-retail-536365"
        );
        assert_eq!(
            naming.receipt("00ff00ff00ff00ff00ff", 7),
            "retail-00ff00ff00ff00ff-7"
        );
    }

    #[test]
    fn keys_alone_differ_from_run_to_run() {
        let (one, other) = (Naming::new("retail", 7), Naming::new("retail", 8));
        assert_eq!(
            one.key("product", "BANK CHARGES"),
            "retail-0000000000000007-product-BANK%20CHARGES"
        );
        assert_eq!(one.key("cart", "x"), one.key("cart", "x"));
        assert_ne!(one.key("cart", "x"), other.key("cart", "x"));
        assert_eq!(one.cart("536365", 1), other.cart("536365", 1));
        assert_eq!(one.taken_back("C1", "x"), other.taken_back("C1", "x"));
        assert_eq!(one.receipt("00ff", 7), other.receipt("00ff", 7));
    }

    #[test]
    fn odd_invoice_numbers_are_still_ids() {
        let naming = Naming::new("retail", 7);
        assert_eq!(naming.cart("5363 65/é", 1), "retail-5363~2065~2F~C3~A9");
        let long = "9".repeat(200);
        let (first, second) = (naming.cart(&long, 1), naming.cart(&long, 2));
        assert!(first.len() <= MAX_ID_BYTES && first != second);
    }
}
