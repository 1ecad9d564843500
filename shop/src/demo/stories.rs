//! What shoppers do. Each story ends as told or is reported as a surprise.

use std::sync::Arc;

use futures::future::join;
use rand::Rng;
use serde_json::json;
use tokio::sync::watch;

use super::catalog::Product;
use super::floor::Floor;
use super::shopper::{Shopper, Step, StoryError, money};
use crate::client::{Answer, Request, segment};

/// Which story a shopper lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Buys, pays, gets the goods; some give something back.
    Happy,
    /// Wants the hot item.
    Hot,
    /// Has something in the cart while its price changes.
    Repriced,
    /// The payment fails.
    FailedPayment,
    /// Changes their mind.
    Cancels,
    /// Never pays.
    Forgets,
    /// Sends every request twice at the same time.
    Impatient,
}

/// Lives a story.
pub async fn live(story: Story, mut shopper: Shopper, news: watch::Receiver<Option<News>>) {
    let result = match story {
        Story::Happy => happy(&mut shopper).await,
        Story::Hot => hot(&mut shopper).await,
        Story::Repriced => repriced(&mut shopper, news).await,
        Story::FailedPayment => failed_payment(&mut shopper).await,
        Story::Cancels => cancels(&mut shopper).await,
        Story::Forgets => forgets(&mut shopper).await,
        Story::Impatient => impatient(&mut shopper).await,
    };
    if let Err(error) = result {
        shopper
            .floor
            .surprise(format!("{story:?} {}: {error}", shopper.id));
    }
}

/// The manager changed a price.
#[derive(Debug, Clone)]
pub struct News {
    /// The position of the change.
    pub position: String,
    /// The new price, in cents.
    pub price_minor: i64,
}

impl Shopper {
    /// Something from the catalog; a few products sell far better than the rest.
    fn pick(&mut self) -> Product {
        let share: f64 = self.random.random::<f64>().powi(3);
        let products = &self.floor.products;
        let at = (share * products.len() as f64) as usize;
        products[at.min(products.len() - 1)].clone()
    }

    /// Fills the cart with one to four things.
    async fn fill(&mut self) -> Step<u32> {
        let things = self.random.random_range(1..=4);
        for _ in 0..things {
            self.think().await;
            let product = self.pick();
            let quantity = self.random.random_range(1..=3);
            self.add(&product, quantity).await?;
        }
        Ok(things)
    }

    async fn order(&mut self) -> Step<bool> {
        self.think().await;
        let request = self.checkout_request(None);
        let confirmed = self.check_out(&request).await?;
        self.look().await?;
        Ok(confirmed)
    }

    async fn pay_in_full(&mut self) -> Step<()> {
        self.think().await;
        let total = self.total_minor;
        self.pay("authorized", total).await?;
        self.pay("captured", total).await?;
        self.now("paid");
        Ok(())
    }
}

fn confirmed(yes: bool, shopper: &Shopper) -> Step<()> {
    if yes {
        return Ok(());
    }
    Err(StoryError::OffScript(format!(
        "{} found too little stock",
        shopper.id
    )))
}

async fn happy(shopper: &mut Shopper) -> Step<()> {
    shopper.open_cart().await?;
    let lines = shopper.fill().await?;
    if lines > 1 && shopper.random.random_bool(0.3) {
        let quantity = shopper.random.random_range(1..=4);
        shopper.change(1, quantity).await?;
    }
    let ordered = shopper.order().await?;
    confirmed(ordered, shopper)?;
    shopper.pay_in_full().await?;
    shopper.think().await;
    if shopper.random.random_bool(0.25) {
        // One unit of the first line goes ahead.
        let first = json!([{"line": 1, "quantity": 1}]);
        let shipped = shopper.ship(Some(first)).await?;
        if shipped.text("status") == "partly_shipped" {
            shopper.now("partly_shipped");
            shopper.think().await;
            shopper.ship(None).await?;
        }
    } else {
        shopper.ship(None).await?;
    }
    shopper.now("shipped");
    if shopper.random.random_bool(0.2) {
        shopper.think().await;
        shopper.give_back(1, 1).await?;
    }
    shopper.look().await.map(drop)
}

async fn hot(shopper: &mut Shopper) -> Step<()> {
    shopper.open_cart().await?;
    let hot = shopper.floor.hot.clone();
    shopper.add(&hot, 1).await?;
    let request = shopper.checkout_request(Some(hot.price_minor));
    if !shopper.check_out(&request).await? {
        return shopper.look().await.map(drop);
    }
    shopper.look().await?;
    shopper.pay_in_full().await?;
    shopper.ship(None).await?;
    shopper.now("shipped");
    shopper.look().await.map(drop)
}

/// The cart holds the old price; the checkout is refused with both prices; the shopper agrees.
async fn repriced(shopper: &mut Shopper, mut news: watch::Receiver<Option<News>>) -> Step<()> {
    let product = shopper.floor.repriced.clone();
    shopper.open_cart().await?;
    shopper.add(&product, 2).await?;
    let news = news.wait_for(Option::is_some).await;
    let news = news.ok().and_then(|news| news.clone());
    let Some(news) = news else {
        return Err(StoryError::OffScript("the price never changed".to_owned()));
    };
    let late = shopper.add_request(&product, 1).at(news.position.as_str());
    let both = shopper.refused("add item", "price_changed", &late).await?;
    let prices = |member: &str| both.more.get(member).cloned().unwrap_or_default();
    let told = (prices("expected_price"), prices("current_price"));
    if told != (money(product.price_minor), money(news.price_minor)) {
        return Err(StoryError::OffScript(format!(
            "price_changed told {told:?}"
        )));
    }
    let (old, new) = (2 * product.price_minor, 2 * news.price_minor);
    let stale = shopper
        .checkout_request(Some(old))
        .at(news.position.as_str());
    shopper.refused("checkout", "price_changed", &stale).await?;
    shopper.think().await;
    let agreed = shopper
        .checkout_request(Some(new))
        .at(news.position.as_str());
    let yes = shopper.check_out(&agreed).await?;
    confirmed(yes, shopper)?;
    if shopper.total_minor != new {
        return Err(StoryError::OffScript(format!(
            "paid {} for {new}",
            shopper.total_minor
        )));
    }
    shopper.pay_in_full().await?;
    shopper.ship(None).await?;
    shopper.now("shipped");
    shopper.look().await.map(drop)
}

async fn failed_payment(shopper: &mut Shopper) -> Step<()> {
    shopper.open_cart().await?;
    shopper.fill().await?;
    let ordered = shopper.order().await?;
    confirmed(ordered, shopper)?;
    let total = shopper.total_minor;
    let failed = shopper.pay("failed", total).await?;
    if failed.text("status") != "cancelled" {
        let status = failed.text("status");
        return Err(StoryError::OffScript(format!(
            "a failed payment left it {status}"
        )));
    }
    shopper.now("cancelled");
    // The card's money arrives after all: nobody keeps it.
    if shopper.random.random_bool(0.5) {
        shopper.think().await;
        let late = shopper.pay("captured", total).await?;
        let due = late.number("refund_due_minor").unwrap_or_default();
        if due != total {
            return Err(StoryError::OffScript(format!(
                "{due} is due of {total} that came late"
            )));
        }
        shopper.pay("refunded", due).await?;
    }
    shopper.look().await.map(drop)
}

async fn cancels(shopper: &mut Shopper) -> Step<()> {
    shopper.open_cart().await?;
    shopper.fill().await?;
    let ordered = shopper.order().await?;
    confirmed(ordered, shopper)?;
    if shopper.random.random_bool(0.5) {
        shopper.pay_in_full().await?;
    }
    shopper.think().await;
    shopper.cancel().await?;
    shopper.look().await.map(drop)
}

/// Checks out and walks away. What becomes of the order is seen at the end of the run.
async fn forgets(shopper: &mut Shopper) -> Step<()> {
    shopper.open_cart().await?;
    shopper.fill().await?;
    let ordered = shopper.order().await?;
    confirmed(ordered, shopper)
}

/// Every request goes out twice at once, under one key; both get the same answer.
async fn impatient(shopper: &mut Shopper) -> Step<()> {
    let cart = shopper.cart_request();
    twice(shopper, "open cart", &cart).await?;
    let product = shopper.pick();
    let add = shopper.add_request(&product, 2);
    twice(shopper, "add item", &add).await?;
    let checkout = shopper.checkout_request(Some(2 * product.price_minor));
    let answer = twice(shopper, "checkout", &checkout).await?;
    let yes = shopper.checked_out(&answer)?;
    confirmed(yes, shopper)?;
    let total = shopper.total_minor;
    let capture = shopper.payment_request("captured", total);
    twice(shopper, "payment", &capture).await?;
    shopper.now("paid");
    let key = shopper.next_key();
    let path = format!("/v1/orders/{}/shipments", segment(&shopper.id));
    let ship = Request::post(path, key.clone(), &json!({"shipment_id": key}));
    twice(shopper, "shipment", &ship).await?;
    shopper.now("shipped");
    shopper.look().await.map(drop)
}

async fn twice(shopper: &mut Shopper, step: &'static str, request: &Request) -> Step<Answer> {
    let floor: Arc<Floor> = Arc::clone(&shopper.floor);
    let (one, two) = join(floor.command(step, request), floor.command(step, request)).await;
    let one = one.map_err(|error| StoryError::Step { step, error })?;
    let two = two.map_err(|error| StoryError::Step { step, error })?;
    if one.body != two.body {
        return Err(StoryError::OffScript(format!(
            "{step} twice: {} and {}",
            one.body, two.body
        )));
    }
    shopper.keep(&one);
    Ok(one)
}
