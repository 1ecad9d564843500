//! The demo from its beginning to its end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::catalog::{Product, generate};
use super::floor::Floor;
use super::screen::Screen;
use super::shopper::{Shopper, money};
use super::stories::{News, Story, live};
use super::summary::Summary;
use super::{checks, reads};
use crate::client::{Api, CallError, Request, RetryPolicy, segment};

/// What to show.
#[derive(Debug, Clone)]
pub struct Options {
    /// The command-api.
    pub command_url: String,
    /// The query-api.
    pub query_url: String,
    /// Kafka's brokers, `host:port,…`.
    pub bootstrap: String,
    /// The schema registry.
    pub registry: String,
    /// How long shoppers keep coming.
    pub open_for: Duration,
    /// How many shoppers come.
    pub shoppers: usize,
    /// How many products there are.
    pub products: usize,
    /// Decides what is sold, who comes when and what they do.
    pub seed: u64,
    /// How long to wait, at the end, for unpaid orders to expire.
    pub expiry_wait: Duration,
}

/// Units of every other item.
const UNITS: i64 = 2_000;
/// Commands at a time while the shop is being filled.
const FILLING_AT_ONCE: usize = 32;

/// Runs the demo.
///
/// # Errors
/// When the services cannot be reached, or the log cannot be read.
pub async fn run(options: &Options) -> anyhow::Result<Summary> {
    let floor = open(options)?;
    let screen = Screen::start(&floor, options);
    let log = super::log::Log::connect(&options.bootstrap, &options.registry).await?;
    fill(&floor).await.context("filling the shop")?;
    serve(&floor, options).await;
    let expiries = reads::wait_for_expiries(&floor, options.expiry_wait).await;
    screen.note("reading the log and the views …");
    let checks = checks::all(&floor, log, &expiries).await;
    screen.stop().await;
    Ok(Summary::of(&floor, options, checks?))
}

fn open(options: &Options) -> anyhow::Result<Arc<Floor>> {
    if options.shoppers < 20 || options.products < 10 {
        bail!("a demo needs at least 20 shoppers and 10 products");
    }
    let policy = RetryPolicy {
        give_up_after: Duration::from_secs(60),
        ..RetryPolicy::default()
    };
    let commands = Api::new(&options.command_url, policy.clone()).context("HTTP client")?;
    let queries = Api::new(&options.query_url, policy).context("HTTP client")?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let run = format!("{:x}", since.as_millis());
    let products = generate(options.seed, options.products);
    let hot_units = i64::try_from(hot_shoppers(options) / 4)?.max(1);
    Ok(Arc::new(Floor::new(
        commands, queries, run, products, hot_units,
    )))
}

/// Enters all products and receives their stock. Products of an earlier run are there already, and
/// say so.
async fn fill(floor: &Arc<Floor>) -> Result<(), CallError> {
    let special = [(&floor.hot, floor.hot_units), (&floor.repriced, UNITS)];
    let usual = floor.products.iter().map(|product| (product, UNITS));
    futures::stream::iter(special.into_iter().chain(usual))
        .map(|(product, units)| stock(floor, product, units))
        .buffer_unordered(FILLING_AT_ONCE)
        .try_collect::<()>()
        .await?;
    floor.tell(format!(
        "{} products in the catalog, stock received",
        floor.products.len() + 2
    ));
    Ok(())
}

async fn stock(floor: &Floor, product: &Product, units: i64) -> Result<(), CallError> {
    let body = json!({
        "sku": product.sku,
        "name": product.name,
        "description": product.description,
        "price": money(product.price_minor),
    });
    let key = floor.key(&format!("product-{}", product.sku));
    floor
        .command("create product", &Request::post("/v1/products", key, &body))
        .await?;
    let key = floor.key(&format!("receipt-{}", product.sku));
    let body = json!({"quantity": units, "reference": key});
    let path = format!("/v1/stock/{}/receipts", segment(&product.sku));
    floor
        .command("receive stock", &Request::post(path, key, &body))
        .await
        .map(drop)
}

/// Shoppers who want the hot item, all at once; there is one unit for every fourth of them.
fn hot_shoppers(options: &Options) -> usize {
    (options.shoppers / 3).max(2)
}

/// Who comes when: the moment as a share of the opening time, and the story.
fn cast(options: &Options) -> Vec<(f64, Story)> {
    let mut random = SmallRng::seed_from_u64(options.seed ^ 0x5eed);
    let part = |share: usize| (options.shoppers / share).max(1);
    let mut cast = Vec::with_capacity(options.shoppers);
    // Those who forget come first, so that their deadline passes while the shop is open.
    cast.extend((0..part(100)).map(|_| (0.0, Story::Forgets)));
    // The hot item: everyone at once.
    cast.extend((0..hot_shoppers(options)).map(|_| (0.35, Story::Hot)));
    // They fill their carts before the price changes.
    cast.extend((0..part(30)).map(|_| (random.random_range(0.2..0.5), Story::Repriced)));
    for (share, story) in [
        (30, Story::FailedPayment),
        (30, Story::Cancels),
        (25, Story::Impatient),
    ] {
        cast.extend((0..part(share)).map(|_| (random.random_range(0.02..0.9), story)));
    }
    while cast.len() < options.shoppers {
        cast.push((random.random_range(0.0..0.95), Story::Happy));
    }
    cast
}

const PRICE_CHANGES_AT: f64 = 0.55;

async fn serve(floor: &Arc<Floor>, options: &Options) {
    let opened = Instant::now();
    let (publish, news) = watch::channel(None);
    let mut tasks = JoinSet::new();
    for (number, (share, story)) in cast(options).into_iter().enumerate() {
        let shopper = Shopper::new(floor, options.seed, number);
        let comes = opened + options.open_for.mul_f64(share);
        let news = news.clone();
        tasks.spawn(after(
            comes,
            async move { live(story, shopper, news).await },
        ));
    }
    let changes = opened + options.open_for.mul_f64(PRICE_CHANGES_AT);
    let manager = Arc::clone(floor);
    tasks.spawn(after(changes, async move {
        match change_price(&manager).await {
            Ok(changed) => {
                publish.send_replace(Some(changed));
            }
            Err(error) => manager.surprise(format!("the price change: {error}")),
        }
    }));
    let counts = opened + options.open_for.mul_f64(0.7);
    let counter = Arc::clone(floor);
    tasks.spawn(after(counts, async move {
        if let Err(error) = take_stock(&counter).await {
            counter.surprise(format!("the stock taking: {error}"));
        }
    }));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            floor.surprise(format!("a shopper broke down: {error}"));
        }
    }
}

async fn after<T>(when: Instant, what: impl Future<Output = T>) -> T {
    tokio::time::sleep_until(when).await;
    what.await
}

async fn change_price(floor: &Floor) -> Result<News, CallError> {
    let product = &floor.repriced;
    let price_minor = product.price_minor * 5 / 4;
    let path = format!("/v1/products/{}/price", segment(&product.sku));
    let key = floor.key("new-price");
    let request = Request::put(path, key, &money(price_minor));
    let answer = floor.command("change price", &request).await?;
    floor.tell(format!(
        "{} costs {price_minor} now, {} before; carts hold it",
        product.sku, product.price_minor
    ));
    let position = answer.position.map(|position| position.to_string());
    Ok(News {
        position: position.unwrap_or_default(),
        price_minor,
    })
}

/// A few things turn out to be broken.
async fn take_stock(floor: &Floor) -> Result<(), CallError> {
    for product in floor.products.iter().rev().take(5) {
        let key = floor.key(&format!("count-{}", product.sku));
        let body = json!({"delta": -3, "reason": "broken", "reference": key});
        let path = format!("/v1/stock/{}/adjustments", segment(&product.sku));
        floor
            .command("adjust stock", &Request::post(path, key, &body))
            .await?;
    }
    floor.tell("stock taking: 15 units were broken and are written off".to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_cast_whatever_the_number_of_shoppers() {
        for shoppers in [20, 300] {
            let options = Options {
                command_url: String::new(),
                query_url: String::new(),
                bootstrap: String::new(),
                registry: String::new(),
                open_for: Duration::ZERO,
                shoppers,
                products: 10,
                seed: 7,
                expiry_wait: Duration::ZERO,
            };
            let cast = cast(&options);
            assert_eq!(cast.len(), shoppers);
            for story in [
                Story::Happy,
                Story::Hot,
                Story::Repriced,
                Story::FailedPayment,
                Story::Cancels,
                Story::Forgets,
                Story::Impatient,
            ] {
                assert!(
                    cast.iter().any(|(_, cast)| *cast == story),
                    "{story:?} of {shoppers}"
                );
            }
            let late = cast
                .iter()
                .any(|(at, story)| *story == Story::Repriced && *at >= PRICE_CHANGES_AT);
            assert!(!late, "carts are filled before the price changes");
        }
    }
}
