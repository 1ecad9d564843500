//! What the tests share: a generated file and a shop that answers in memory.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod fake_shop;
pub mod retail_file;
