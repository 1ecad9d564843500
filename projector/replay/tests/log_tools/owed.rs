//! Money that is owed back, by events as the domain writes them.

use cartwright_events::order::PaymentKind::{Authorized, Captured, Failed, Refunded};
use cartwright_events::{Stream, Timestamp};
use cartwright_replay::audit::{Finding, Limits, Severity, Watch, judge, load, save};

use crate::audit::{LIMITS, follow, found, state_file};
use crate::shop::{Shop, cancel, report, report_of};

/// One audit after another of the same shop.
struct Audits {
    shop: Shop,
    watch: Watch,
}

impl Audits {
    fn of(shop: Shop) -> Self {
        Self {
            shop,
            watch: Watch::new(1),
        }
    }

    /// What the next audit finds, soon after or a day later: how bad, which rule, and the first words.
    fn find(&mut self, later: bool) -> Vec<(Severity, &'static str, String)> {
        let findings = self.findings(later).into_iter();
        let said = |finding: Finding| {
            let amount = finding
                .detail
                .split_inclusive(' ')
                .take(6)
                .collect::<String>();
            (finding.severity, finding.rule, amount.trim_end().to_owned())
        };
        findings.map(said).collect()
    }

    fn findings(&mut self, later: bool) -> Vec<Finding> {
        follow(&self.shop.log, &mut self.watch);
        let findings = found(&mut self.watch, later);
        for finding in &findings {
            let evidence = finding.evidence.as_ref().expect("evidence");
            assert_eq!(evidence.topic, Stream::Order.topic());
        }
        findings
    }

    fn is_clear(&mut self) {
        assert_eq!(self.find(true), []);
        assert!(self.watch.orders.is_empty(), "{:?}", self.watch.orders);
    }
}

fn owed(severity: Severity, amount: &str) -> (Severity, &'static str, String) {
    (severity, "refund_due", amount.to_owned())
}

fn unknown(amount: &str) -> (Severity, &'static str, String) {
    let rule = "payment_without_order";
    (Severity::Warning, rule, amount.to_owned())
}

#[test]
fn money_for_an_order_that_nobody_knows_is_told_until_it_is_paid_back() {
    let mut audits = Audits::of(Shop::new());
    audits.shop.pay(report("nobody", "1", Captured, 250, "GBP"));
    let amount = "250 in minor units of GBP";
    assert_eq!(audits.find(false), [owed(Severity::Info, amount)]);
    let late = [unknown(amount), owed(Severity::Warning, amount)];
    assert_eq!(audits.find(true), late);
    audits.shop.pay(report("nobody", "2", Refunded, 200, "GBP"));
    let left = "50 in minor units of GBP";
    let late = [unknown(left), owed(Severity::Warning, left)];
    assert_eq!(audits.find(true), late);
    audits.shop.pay(report("nobody", "3", Refunded, 50, "GBP"));
    audits.is_clear();
}

#[test]
fn reports_that_bring_no_money_are_nothing_to_tell() {
    let mut audits = Audits::of(Shop::new());
    for (operation, kind) in [("1", Authorized), ("2", Failed)] {
        audits
            .shop
            .pay(report("nobody", operation, kind, 250, "GBP"));
    }
    audits.is_clear();
}

#[test]
fn money_that_went_back_before_it_was_reported_to_have_come_is_not_owed() {
    let mut audits = Audits::of(Shop::new());
    audits.shop.pay(report("nobody", "2", Refunded, 250, "GBP"));
    assert_eq!(audits.find(true), []);
    audits.shop.pay(report("nobody", "1", Captured, 250, "GBP"));
    audits.is_clear();
}

#[test]
fn money_in_another_currency_is_owed_though_the_order_has_ended() {
    let mut shop = Shop::new();
    shop.order("o-1");
    shop.checkout(cancel("o-1"));
    let mut audits = Audits::of(shop);
    audits.is_clear();
    audits.shop.pay(report("o-1", "1", Captured, 70, "GBP"));
    let amount = "70 in minor units of GBP";
    assert_eq!(audits.find(false), [owed(Severity::Info, amount)]);
    assert_eq!(audits.find(true), [owed(Severity::Warning, amount)]);
    // Of one currency nothing pays another's debt.
    audits.shop.pay(report("o-1", "2", Refunded, 70, "EUR"));
    assert_eq!(audits.find(true), [owed(Severity::Warning, amount)]);
    audits.shop.pay(report("o-1", "3", Refunded, 70, "GBP"));
    audits.is_clear();
}

#[test]
fn what_an_order_owes_by_its_own_balance_is_told_with_its_currency() {
    let mut shop = Shop::new();
    shop.order("o-1");
    shop.pay(report("o-1", "1", Captured, 100, "EUR"));
    shop.pay(report("o-1", "2", Captured, 9, "GBP"));
    shop.checkout(cancel("o-1"));
    let mut audits = Audits::of(shop);
    let (own, other) = ("100 in minor units of EUR", "9 in minor units of GBP");
    let both = [owed(Severity::Info, own), owed(Severity::Info, other)];
    assert_eq!(audits.find(false), both);
    audits.shop.pay(report("o-1", "3", Refunded, 60, "EUR"));
    let left = "40 in minor units of EUR";
    let both = [
        owed(Severity::Warning, left),
        owed(Severity::Warning, other),
    ];
    assert_eq!(audits.find(true), both);
    audits.shop.pay(report("o-1", "4", Refunded, 40, "EUR"));
    audits.shop.pay(report("o-1", "5", Refunded, 9, "GBP"));
    audits.is_clear();
}

#[test]
fn money_that_came_before_its_order_is_owed_until_the_order_pays_it_back() {
    let mut audits = Audits::of(Shop::new());
    audits.shop.pay(report("o-1", "1", Captured, 100, "EUR"));
    assert_eq!(audits.find(true).len(), 2);
    audits.shop.order("o-1");
    let amount = "100 in minor units of EUR";
    assert_eq!(audits.find(false), [owed(Severity::Info, amount)]);
    audits.shop.pay(report("o-1", "2", Refunded, 100, "EUR"));
    audits.shop.checkout(cancel("o-1"));
    audits.is_clear();
}

#[test]
fn what_an_operator_knows_of_is_no_warning_until_it_becomes_more() {
    let mut audits = Audits::of(Shop::new());
    audits.shop.pay(report("nobody", "1", Captured, 250, "GBP"));
    assert_eq!(audits.find(true).len(), 2);
    let watch = &mut audits.watch;
    assert!(!watch.acknowledge_owed("o-9", "nothing there", Timestamp::EPOCH));
    assert!(watch.acknowledge_owed("nobody", "sent by post", Timestamp::EPOCH));
    let file = state_file("known");
    save(&file, watch).expect("saved");
    *watch = load(&file, 1).expect("the same");
    std::fs::remove_file(&file).expect("removed");
    let known = audits.findings(true);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].severity, Severity::Info);
    assert!(known[0].detail.ends_with("sent by post"), "{known:?}");
    audits.shop.pay(report("nobody", "2", Captured, 50, "GBP"));
    let more = "300 in minor units of GBP";
    let late = [unknown(more), owed(Severity::Warning, more)];
    assert_eq!(audits.find(true), late);
    audits.shop.pay(report("nobody", "3", Refunded, 300, "GBP"));
    audits.is_clear();
}

#[test]
fn a_paid_order_that_is_not_shipped_is_stuck_when_that_has_a_limit() {
    let mut shop = Shop::new();
    shop.order("o-1");
    shop.pay(report("o-1", "1", Captured, 100, "EUR"));
    let mut watch = Watch::new(1);
    follow(&shop.log, &mut watch);
    assert_eq!(found(&mut watch, true), [], "as long as it takes");
    let limits = Limits {
        shipment: Some(LIMITS.settle),
        ..LIMITS
    };
    let seen = watch.positions[Stream::Order.topic()].values();
    let paid_at = seen
        .filter_map(|seen| seen.recorded_at)
        .max()
        .expect("a time");
    assert_eq!(judge(&watch, paid_at, &limits), []);
    let stuck = judge(&watch, paid_at.plus_millis(61_000), &limits);
    assert_eq!(stuck.len(), 1, "{stuck:?}");
    assert_eq!(
        (stuck[0].severity, stuck[0].rule),
        (Severity::Warning, "stuck_order")
    );
    assert!(stuck[0].detail.starts_with("2 of 2 units"), "{stuck:?}");
}

#[test]
fn money_from_before_the_order_stays_owed_when_another_payment_goes_back() {
    let mut audits = Audits::of(Shop::new());
    let early = |operation, kind| report_of("early", "o-1", operation, kind, 100, "EUR");
    audits.shop.pay(early("1", Captured));
    audits.shop.order("o-1");
    audits.shop.pay(report("o-1", "2", Captured, 100, "EUR"));
    audits.shop.pay(report("o-1", "3", Refunded, 100, "EUR"));
    audits.shop.checkout(cancel("o-1"));
    let amount = "100 in minor units of EUR";
    assert_eq!(audits.find(true), [owed(Severity::Warning, amount)]);
    audits.shop.pay(early("4", Refunded));
    audits.is_clear();
}
