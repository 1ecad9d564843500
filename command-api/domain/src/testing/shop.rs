//! A checkout shard with a few products, and ways to bring an order to where a test needs it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use cartwright_events::messages::ReservationAnswer;
use cartwright_events::partition::partition_of;

use super::build::*;
use super::prices::TestPrices;
use super::scene::{Outcome, Scene};
use crate::checkout::order::state::Standing;
use crate::context::Decision;
use crate::{CheckOut, Checkout, CheckoutSettings, CreateCart, NewItem, Pay, Ship};

/// Sells `A` at 1.00, `B` at 2.50 and `C` at 0.03 GBP. One inventory partition, quoted prices and
/// business time allowed, unless the settings say otherwise.
pub(crate) struct Shop {
    pub(crate) prices: Arc<TestPrices>,
    scene: Scene<Checkout>,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::with(CheckoutSettings {
            allow_quoted_prices: true,
            allow_occurred_at: true,
            inventory_partitions: 1,
            ..CheckoutSettings::default()
        })
    }

    pub(crate) fn with(settings: CheckoutSettings) -> Self {
        let prices = Arc::new(TestPrices::default());
        prices.set("A", 100);
        prices.set("B", 250);
        prices.set("C", 3);
        let context = Checkout::new(settings, prices.clone());
        Self {
            prices,
            scene: Scene::new(context, minute(0)),
        }
    }

    /// A command to open cart `o`.
    pub(crate) fn opening(items: Vec<NewItem>) -> CreateCart {
        CreateCart {
            cart_id: cart_id("o"),
            customer_id: Some(customer("c1")),
            currency: currency("GBP"),
            ship_to_country: Some(country("France")),
            external_reference: None,
            items,
        }
    }

    /// A command to check out cart `o`.
    pub(crate) fn check_out() -> CheckOut {
        CheckOut {
            cart_id: cart_id("o"),
            expected_total: None,
            occurred_at: None,
        }
    }

    /// Cart `o` with `items`.
    pub(crate) fn cart(&mut self, items: Vec<NewItem>) -> &mut Self {
        self.when(Self::opening(items)).accepted();
        self
    }

    /// Order `o` of `items`, pending.
    pub(crate) fn placed(&mut self, items: Vec<NewItem>) -> &mut Self {
        self.cart(items).when(Self::check_out()).accepted();
        self
    }

    /// Order `o` of `items`, confirmed.
    pub(crate) fn confirmed(&mut self, items: Vec<NewItem>) -> &mut Self {
        self.placed(items);
        for partition in 0..self.context.settings.inventory_partitions {
            self.held(partition);
        }
        assert_eq!(self.standing().status(), "confirmed");
        self
    }

    /// Order `o` of `items`, paid by one capture (`p/paid`).
    pub(crate) fn paid(&mut self, items: Vec<NewItem>) -> &mut Self {
        self.confirmed(items);
        let total = self.standing().total_minor;
        self.pay(captured("p/paid", gbp(total))).accepted();
        self
    }

    /// Order `o` of `items`, paid and shipped in full (`all`).
    pub(crate) fn shipped(&mut self, items: Vec<NewItem>) -> &mut Self {
        self.paid(items);
        self.when(Ship {
            order_id: order_id("o"),
            shipment_id: reference("all"),
            lines: None,
            occurred_at: None,
        })
        .accepted();
        self
    }

    /// Inventory partition `partition` holds its part of order `o`.
    pub(crate) fn held(&mut self, partition: u32) -> Decision {
        self.receive(answer(partition, true))
    }

    /// The provider reports.
    pub(crate) fn pay(&mut self, payment: Pay) -> Outcome {
        self.when(payment)
    }

    /// Where order `o` stands.
    pub(crate) fn standing(&self) -> Standing {
        self.state
            .order("o")
            .and_then(|order| order.standing())
            .expect("order o was placed")
    }
}

/// An answer to order `o`, without shortages.
pub(crate) fn answer(partition: u32, held: bool) -> ReservationAnswer {
    ReservationAnswer {
        order_id: order_id("o"),
        inventory_partition: partition,
        held,
        shortages: Vec::new(),
        failure: None,
    }
}

/// Settings with so many inventory partitions that `A`, `B` and `C` live apart, and where they live.
pub(crate) fn several_partitions() -> (CheckoutSettings, [u32; 3]) {
    let home = |count: u32| ["A", "B", "C"].map(|sku| partition_of(sku, count));
    let apart = |count: &u32| {
        let [a, b, c] = home(*count);
        a != b && b != c && a != c
    };
    let inventory_partitions = (3..64).find(apart).unwrap();
    let settings = CheckoutSettings {
        inventory_partitions,
        ..CheckoutSettings::default()
    };
    (settings, home(inventory_partitions))
}

impl Deref for Shop {
    type Target = Scene<Checkout>;
    fn deref(&self) -> &Self::Target {
        &self.scene
    }
}

impl DerefMut for Shop {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.scene
    }
}

macro_rules! into_command {
    ($command:ident: $($body:ident),*) => {$(
        impl From<crate::$body> for crate::$command {
            fn from(body: crate::$body) -> Self { Self::$body(body) }
        }
    )*};
}
into_command!(CatalogCommand: CreateProduct, ChangePrice, RetireProduct);
into_command!(InventoryCommand: ReceiveStock, AdjustStock);
into_command!(CheckoutCommand: CreateCart, AddItem, ChangeItem, RemoveItem, CheckOut, Pay, Ship, Return, Cancel);
