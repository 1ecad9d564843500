//! The pipeline over the log and the stores in memory.

mod bytes;
mod crashes;
mod history;
mod met_again;
mod operator;
mod parking;
mod real;
mod rebalance;
mod setup;
mod stops;
mod storm;
mod unpark;
