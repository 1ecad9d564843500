//! The pipeline into running stores, and the reads over what it has written.
//!
//! Set `CARTWRIGHT_TEST_POSTGRES` (a URL of a database whose read model may be emptied) and
//! `CARTWRIGHT_TEST_CASSANDRA` (`host:port`; the keyspace `cartwright_suites` is used); without
//! them there is nothing to test against. With `--ignored --nocapture`, `rows_per_second` measures
//! how fast rows go in.

mod by_key;
mod causal;
mod relational;
mod stores;
mod storm;
mod throughput;
