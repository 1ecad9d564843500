//! Every reason for which a command is refused, in one table.

use crate::rejection::RejectionKind;

/// Declares the table: name in code, name in the contract, kind, what it means.
macro_rules! reasons {
    ($($reason:ident = $code:literal, $kind:ident, $title:literal;)*) => {
        /// Why a command was refused. The code is part of the contract: it is never reused for
        /// something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $title] $reason),*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$reason),*];

            /// Its name for programs, snake_case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$reason => $code),* }
            }

            /// What a caller can do about it.
            #[must_use]
            pub const fn kind(self) -> RejectionKind {
                match self { $(Reason::$reason => RejectionKind::$kind),* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Reason::$reason => $title),* }
            }
        }
    };
}

reasons! {
    TextOutOfRange = "text_out_of_range", Invalid, "A text is blank, too long or holds a NUL.";
    PriceNotPositive = "price_not_positive", Invalid, "A price is zero or below.";
    AmountNotPositive = "amount_not_positive", Invalid, "An amount of money is zero or below.";
    QuantityOutOfRange = "quantity_out_of_range", Invalid, "A number of units is zero, below, or above what is allowed.";
    AmountOverflow = "amount_overflow", Invalid, "A sum of money or units does not fit into 64 bits.";
    PriceGivenTwice = "price_given_twice", Invalid, "An item has both an expected and a quoted price.";
    LinesMissing = "lines_missing", Invalid, "No line is named.";
    LineRepeated = "line_repeated", Invalid, "The same line is named twice.";
    IdempotencyKeyReused = "idempotency_key_reused", Invalid, "The idempotency key was used with another request.";
    TooLarge = "too_large", Invalid, "What would be written of it does not fit into a record of the log.";
    NotDecided = "not_decided", Conflict, "The command could not be decided; nothing was done.";
    OccurredAtInFuture = "occurred_at_in_future", Invalid, "The business time lies more than five minutes ahead.";

    UnknownProduct = "unknown_product", NotFound, "The catalog does not know the SKU.";
    UnknownCart = "unknown_cart", NotFound, "There is no such cart.";
    UnknownOrder = "unknown_order", NotFound, "There is no such order.";
    UnknownLine = "unknown_line", NotFound, "There is no such line.";

    QuotedPriceNotAllowed = "quoted_price_not_allowed", NotAllowed, "A setting forbids quoted prices.";
    OccurredAtNotAllowed = "occurred_at_not_allowed", NotAllowed, "A setting forbids giving the business time.";

    ProductExists = "product_exists", Conflict, "The SKU was created with other content.";
    ProductRetired = "product_retired", Conflict, "The product is no longer sold.";
    CurrencyMismatch = "currency_mismatch", Conflict, "A price is in another currency than the cart or the product.";
    StockBelowZero = "stock_below_zero", Conflict, "The adjustment takes off more than is on hand.";
    ReferenceReused = "reference_reused", Conflict, "The reference was used before with other content.";
    CartExists = "cart_exists", Conflict, "The cart was created with other content.";
    CartCheckedOut = "cart_checked_out", Conflict, "The cart has become an order.";
    CartAbandoned = "cart_abandoned", Conflict, "The cart was left alone for too long.";
    CartEmpty = "cart_empty", Conflict, "There is nothing in the cart.";
    TooManyLines = "too_many_lines", Conflict, "The cart has as many lines as it may have.";
    PriceChanged = "price_changed", Conflict, "A price is not the expected one.";
    TotalChanged = "total_changed", Conflict, "The total is not the expected one.";
    OperationReused = "operation_reused", Conflict, "The payment operation was reported before with other content.";
    OrderNotPaid = "order_not_paid", Conflict, "The order is not paid in full.";
    OrderEnded = "order_ended", Conflict, "The order was rejected, cancelled or has expired.";
    OrderAlreadyShipped = "order_already_shipped", Conflict, "Something of the order has been shipped.";
    NothingLeftToShip = "nothing_left_to_ship", Conflict, "The whole order has been shipped.";
    QuantityExceedsOrder = "quantity_exceeds_order", Conflict, "More is shipped than is left of a line.";
    ReturnExceedsShipped = "return_exceeds_shipped", Conflict, "More is returned than was shipped and not returned yet.";

    VersionMismatch = "version_mismatch", Precondition, "The aggregate is at another version than the caller expected.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Reason;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let codes: HashSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{code}"
            );
        }
    }
}
