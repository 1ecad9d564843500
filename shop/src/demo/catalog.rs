//! Plausible products, the same for the same seed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// The currency of the demo's prices: another than that of retail files, so that their reports stay apart.
pub const CURRENCY: &str = "EUR";

const STYLES: [&str; 12] = [
    "Plain",
    "Ribbed",
    "Folding",
    "Stackable",
    "Hand-finished",
    "Slim",
    "Deep",
    "Travel",
    "Double-walled",
    "Round",
    "Tapered",
    "Everyday",
];
const MATERIALS: [(&str, u32); 10] = [
    ("oak", 130),
    ("birch", 100),
    ("brass", 170),
    ("linen", 110),
    ("enamel", 90),
    ("cork", 80),
    ("stoneware", 105),
    ("wool", 140),
    ("steel", 95),
    ("glass", 85),
];
/// What it is, and what the plain one costs in cents.
const THINGS: [(&str, i64); 16] = [
    ("mug", 850),
    ("lamp", 4900),
    ("tray", 1900),
    ("jug", 1650),
    ("stool", 6900),
    ("clock", 3400),
    ("planter", 1450),
    ("bowl", 1100),
    ("coaster set", 700),
    ("throw", 5200),
    ("bread bin", 2900),
    ("candle holder", 950),
    ("bookend", 1800),
    ("coat hook", 1250),
    ("kettle", 4400),
    ("basket", 2200),
];

/// A product to be sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its SKU.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// A sentence about it.
    pub description: String,
    /// Price of one unit, in cents.
    pub price_minor: i64,
}

/// `count` products with different SKUs and names, as long as there are names (1,920).
#[must_use]
pub fn generate(seed: u64, count: usize) -> Vec<Product> {
    let mut random = SmallRng::seed_from_u64(seed);
    let names = STYLES.len() * MATERIALS.len() * THINGS.len();
    // A step without a common divisor walks over every combination once.
    let step = 7 * 11 * 13;
    let start = random.random_range(0..names);
    (0..count.min(names))
        .map(|number| product(seed, number, (start + number * step) % names, &mut random))
        .collect()
}

fn product(seed: u64, number: usize, combination: usize, random: &mut SmallRng) -> Product {
    let style = STYLES[combination % STYLES.len()];
    let (material, percent) = MATERIALS[combination / STYLES.len() % MATERIALS.len()];
    let (thing, base) = THINGS[combination / STYLES.len() / MATERIALS.len()];
    let price = base * i64::from(percent) / 100 + random.random_range(-60..=240);
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(char::is_ascii_alphabetic);
        letters.take(3).collect::<String>().to_uppercase()
    };
    let room = ["kitchen", "hall", "study", "garden room"]
        .choose(random)
        .unwrap_or(&"house");
    Product {
        sku: format!(
            "{}-{}-{seed}-{number:03}",
            letters(thing),
            letters(material)
        ),
        name: format!("{style} {material} {thing}"),
        description: format!(
            "A {} {thing} of {material}, made for the {room}.",
            style.to_lowercase()
        ),
        price_minor: price / 5 * 5,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_products_and_no_two_alike() {
        let products = generate(7, 300);
        assert_eq!(products, generate(7, 300));
        assert_ne!(products, generate(8, 300));
        let skus: HashSet<_> = products.iter().map(|product| &product.sku).collect();
        let names: HashSet<_> = products.iter().map(|product| &product.name).collect();
        assert_eq!((skus.len(), names.len()), (300, 300));
        assert!(products.iter().all(|product| product.price_minor > 300));
    }
}
