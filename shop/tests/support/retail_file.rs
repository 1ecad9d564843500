//! A small file in the format of a retail file, generated: every oddity that the rules name is in
//! it, and no row of any real shop.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

const HEADER: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
const COUNTRIES: [&str; 4] = ["United Kingdom", "France", "Eire", ""];
const THINGS: [&str; 6] = [
    "TEA TOWEL",
    "\"LAMP, RED\"",
    "BOWL 7\"\"",
    "",
    "GARDEN GNOME",
    "BUNTING",
];

/// Bytes of a file of about `invoices` invoices. The same seed gives the same bytes.
pub fn bytes(seed: u64, invoices: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for number in 0..invoices {
        let mut invoice = one_invoice(&mut random, number);
        if number % 11 == 10 {
            // Rows of two invoices stand among each other.
            let at = rows.len().saturating_sub(2);
            let moved = rows.split_off(at);
            invoice.extend(moved);
            invoice.shuffle(&mut random);
        }
        rows.extend(invoice);
    }
    let mut out = HEADER.as_bytes().to_vec();
    out.push(b'\n');
    for row in rows {
        out.extend(row);
        out.push(b'\n');
    }
    out
}

/// Writes them to `path`, packed when its name ends in `.gz`.
pub fn write(path: &Path, seed: u64, invoices: usize) {
    let bytes = bytes(seed, invoices);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let file = std::fs::File::create(path).unwrap();
        let mut packed = GzEncoder::new(file, Compression::fast());
        packed.write_all(&bytes).unwrap();
        packed.finish().unwrap();
    } else {
        std::fs::write(path, bytes).unwrap();
    }
}

fn one_invoice(random: &mut StdRng, number: usize) -> Vec<Vec<u8>> {
    let cancels = number > 3 && random.random_bool(0.25);
    let name = match number % 40 {
        39 => format!("A{}", 900_000 + number),
        _ if cancels => format!("C{}", 900_000 + number),
        _ => format!("{}", 900_000 + number),
    };
    let customer = match random.random_range(0..8) {
        0 => String::new(),
        one => format!("{}.0", 70_000 + one),
    };
    let country = COUNTRIES.choose(random).unwrap();
    let day = 1 + number % 28;
    let lines = random.random_range(1..7);
    let mut rows = Vec::new();
    for _ in 0..lines {
        let minute = random.random_range(0..60);
        rows.push(one_row(
            random,
            &name,
            cancels,
            &customer,
            country,
            &format!("2021-03-{day:02} 09:{minute:02}:00"),
        ));
        if random.random_bool(0.2) {
            rows.push(rows[0].clone());
        }
    }
    rows
}

fn one_row(
    random: &mut StdRng,
    invoice: &str,
    cancels: bool,
    customer: &str,
    country: &str,
    at: &str,
) -> Vec<u8> {
    let item = random.random_range(0..9);
    let sku = match random.random_range(0..30) {
        0 => String::new(),
        1 => format!(" t{item}a "),
        _ => format!("T{item}A"),
    };
    let sign = if cancels != random.random_bool(0.03) {
        "-"
    } else {
        ""
    };
    let quantity = match random.random_range(0..40) {
        0 => "0".to_owned(),
        1 => "some".to_owned(),
        2 => "1.5".to_owned(),
        _ => format!("{sign}{}", random.random_range(1..25)),
    };
    let price = match random.random_range(0..50) {
        0 => "0.0".to_owned(),
        1 => "-3.10".to_owned(),
        2 => "0.001".to_owned(),
        3 => "free".to_owned(),
        _ => format!(
            "{}.{}",
            item + 1,
            ["5", "25", "990"].choose(random).unwrap()
        ),
    };
    let thing = THINGS.choose(random).unwrap();
    let mut row = format!("{invoice},{sku},{thing}").into_bytes();
    if *thing == "BUNTING" {
        // One byte that is no UTF-8: the pound sign of windows-1252.
        row.extend(b" 5\xa3");
    }
    row.extend(format!(",{quantity},{at},{price},{customer},{country}").into_bytes());
    row
}
