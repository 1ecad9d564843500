//! The behaviour that every service relies on, through the public interface.

mod config;
mod extract;
mod http_client;
mod middleware;
mod probes;
mod stop;
