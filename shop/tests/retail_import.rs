//! Imports into a shop that answers in memory, and that fails on the way.

mod support;

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use cartwright_shop::retail::import::{Options, run};
use cartwright_shop::retail::summary::Totals;
use support::fake_shop::{FakeShop, Order};
use support::retail_file;

fn file_in_scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("retail-import");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn options(name: &str, seed: u64, url: &str) -> Options {
    let file = file_in_scratch(&format!("{name}.csv.gz"));
    retail_file::write(&file, seed, 150);
    of_file(file, url)
}

/// The import of these rows: invoice, SKU, name, units, price.
fn of_rows(name: &str, rows: &[(&str, &str, &str, u32, &str)], url: &str) -> Options {
    let mut text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,\
                    CustomerID,Country\n"
        .to_owned();
    for (invoice, sku, name, units, price) in rows {
        text += &format!("{invoice},{sku},{name},{units},2021-03-01 09:00:00,{price},7.0,X\n");
    }
    let file = file_in_scratch(&format!("{name}.csv"));
    std::fs::write(&file, text).unwrap();
    of_file(file, url)
}

fn of_file(file: PathBuf, url: &str) -> Options {
    Options {
        rejects: file.with_extension("rejects.csv"),
        file,
        limit_stock: None,
        concurrency: 16,
        command_url: url.to_owned(),
        query_url: url.to_owned(),
        namespace: "retail".to_owned(),
        give_up_after: Duration::from_secs(20),
        wait_for_views: Duration::from_secs(20),
        dry_run: false,
    }
}

async fn planned(options: &Options) -> Totals {
    let dry = Options {
        dry_run: true,
        ..options.clone()
    };
    run(&dry).await.unwrap().totals
}

fn done(order: &Order) -> bool {
    order.status == "shipped"
}

fn orders(fake: &FakeShop) -> std::collections::BTreeMap<String, Order> {
    fake.shop
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .orders
        .clone()
}

fn assert_holds(fake: &FakeShop, totals: &Totals) {
    let orders = orders(fake);
    let sold = || orders.values().filter(|order| done(order));
    assert_eq!(sold().count() as u64, totals.orders);
    assert_eq!(
        sold().map(|order| order.total).sum::<i64>(),
        totals.gross_minor
    );
    assert_eq!(
        sold().map(|order| order.refunded).sum::<i64>(),
        totals.refunded_minor
    );
    let returned = sold().flat_map(|order| order.returned.values());
    assert_eq!(returned.sum::<i64>(), totals.returned_units);
    for order in sold() {
        assert_eq!(order.captured, order.total);
        let owed: i64 = order
            .returned
            .iter()
            .map(|(line, units)| units * order.lines[usize::try_from(*line).unwrap() - 1].2)
            .sum();
        assert_eq!(
            order.refunded, owed,
            "a refund is of the order that its return is of"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_shop_ends_as_one_that_never_failed_and_a_second_import_changes_nothing() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(9).await;
    let options = options("failing", 11, &url);
    let planned = planned(&options).await;
    let first = run(&options).await.unwrap();
    assert!(first.is_complete() && first.retries > 0);
    assert_eq!(first.views_hold_it, Some(true));
    assert_eq!(first.totals, planned);
    assert_holds(&fake, &planned);

    let before = orders(&fake);
    let stock = fake.shop.lock().unwrap().stock.clone();
    let again = run(&options).await.unwrap();
    assert_eq!(again.totals, planned);
    assert_eq!(orders(&fake), before);
    assert_eq!(fake.shop.lock().unwrap().stock, stock);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_started_again_ends_as_if_it_had_never_stopped() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(7).await;
    let options = options("interrupted", 12, &url);
    for calls in [60, 250] {
        let importing = tokio::spawn({
            let options = options.clone();
            async move { run(&options).await }
        });
        let waiting = fake.clone();
        while waiting.calls() < calls && !importing.is_finished() {
            tokio::task::yield_now().await;
        }
        importing.abort();
        assert!(
            importing.await.is_err(),
            "it was over before it could be interrupted"
        );
    }
    let summary = run(&options).await.unwrap();
    assert_eq!(summary.totals, planned(&options).await);
    assert_holds(&fake, &summary.totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_stock_rejects_exactly_the_orders_that_the_file_says() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(5).await;
    let mut options = options("limited", 13, &url);
    options.limit_stock = Some(150);
    let planned = planned(&options).await;
    assert!(planned.rejected_orders > 0 && planned.orders > 0);
    let summary = run(&options).await.unwrap();
    assert!(summary.is_complete());
    assert_eq!(summary.totals, planned);
    assert_holds(&fake, &planned);
    assert!(
        fake.shop
            .lock()
            .unwrap()
            .stock
            .values()
            .all(|left| *left >= 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_shop_refuses_is_reported_and_the_rest_goes_on() {
    let fake = FakeShop::default();
    fake.shop.lock().unwrap().refuse_sku = Some("T3A".to_owned());
    let url = fake.clone().serve(0).await;
    let options = options("refused", 14, &url);
    let summary = run(&options).await.unwrap();
    assert!(!summary.is_complete());
    assert!(summary.totals.refused_invoices > 0 && summary.totals.orders > 0);
    assert_holds(&fake, &summary.totals);
    let rejects = std::fs::read_to_string(&options.rejects).unwrap();
    let refused = rejects
        .lines()
        .filter(|line| line.contains("rejected-by-shop,cart: 409 unknown_product"));
    assert_eq!(refused.count() as u64, summary.totals.refused_invoices);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_expired_while_the_import_was_away_is_made_anew() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(0).await;
    let options = options("expired", 15, &url);
    let planned = planned(&options).await;
    let first_order = "retail-900000".to_owned();
    fake.shop.lock().unwrap().expire_next = Some(first_order.clone());
    let summary = run(&options).await.unwrap();
    assert!(summary.is_complete());
    assert_eq!(summary.totals, planned);
    assert_holds(&fake, &planned);
    let orders = orders(&fake);
    assert!(!done(&orders[&first_order]) && done(&orders[&format!("{first_order}.2")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_file_with_other_names_and_prices_gets_stock_of_its_own() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(0).await;
    let first = of_rows("first", &[("1", "CUP", "Cup", 5, "1.00")], &url);
    let second = of_rows("second", &[("2", "CUP", "Mug", 7, "2.00")], &url);
    for options in [first, second] {
        let summary = run(&options).await.unwrap();
        assert!(summary.is_complete());
        assert_eq!(summary.totals.orders, 1, "{:?}", summary.totals);
    }
    assert_eq!(fake.shop.lock().unwrap().stock["CUP"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_asked_for_anew_by_the_next_import() {
    let fake = FakeShop::default();
    fake.shop.lock().unwrap().refuse_quoted_prices = true;
    let url = fake.clone().serve(0).await;
    let options = of_rows("anew", &[("1", "CUP", "Cup", 5, "1.00")], &url);
    let refused = run(&options).await.unwrap();
    assert_eq!(refused.totals.refused_invoices, 1);
    fake.shop.lock().unwrap().refuse_quoted_prices = false;
    let summary = run(&options).await.unwrap();
    assert!(summary.is_complete());
    assert_eq!(summary.totals.orders, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_came_too_late_goes_back_also_when_the_import_stops_before_that() {
    let fake = FakeShop::default();
    {
        let mut shop = fake.shop.lock().unwrap();
        shop.pay_too_late = Some("retail-1".to_owned());
        shop.refunds_hang = true;
    }
    let url = fake.clone().serve(0).await;
    let options = of_rows("late", &[("1", "CUP", "Cup", 5, "1.00")], &url);
    let importing = tokio::spawn({
        let options = options.clone();
        async move { run(&options).await }
    });
    while fake.shop.lock().unwrap().refunds_asked_for == 0 {
        assert!(!importing.is_finished(), "it gave nothing back");
        tokio::task::yield_now().await;
    }
    importing.abort();
    assert!(
        importing.await.is_err(),
        "it was over before it was stopped"
    );

    fake.shop.lock().unwrap().refunds_hang = false;
    let summary = run(&options).await.unwrap();
    assert!(summary.is_complete());
    let orders = orders(&fake);
    let late = &orders["retail-1"];
    assert_eq!((late.captured, late.refunded), (500, 500));
    assert!(done(&orders["retail-1.2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_of_which_no_stock_is_taken_ends_its_invoices_and_not_the_import() {
    let fake = FakeShop::default();
    let url = fake.clone().serve(0).await;
    // As a segment of a path it leads elsewhere.
    let rows = [
        ("1", "..", "Dots", 5, "1.00"),
        ("2", "CUP", "Cup", 5, "1.00"),
    ];
    let options = of_rows("dots", &rows, &url);
    let summary = run(&options).await.unwrap();
    assert!(!summary.is_complete());
    let totals = &summary.totals;
    assert_eq!((totals.orders, totals.refused_invoices), (1, 1));
    assert_eq!(totals.rejected_orders, 0);
    let rejects = std::fs::read_to_string(&options.rejects).unwrap();
    assert!(
        rejects.contains("\n2,rejected-by-shop,stock of ..: 404"),
        "{rejects}"
    );
}

#[tokio::test]
async fn nothing_that_answers_ends_the_import_with_a_clear_line() {
    let mut options = options("silent", 16, "http://127.0.0.1:1");
    options.give_up_after = Duration::ZERO;
    let error = format!("{:#}", run(&options).await.unwrap_err());
    assert!(
        error.contains("start it again to go on") && error.contains("no answer for"),
        "{error}"
    );
}
