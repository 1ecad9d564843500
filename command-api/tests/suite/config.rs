//! Settings.

use std::path::Path;

use cartwright_command_api::config::Config;
use cartwright_events::Context;
use cartwright_service::config::{ConfigError, load_from};

const LEAST: &str = r#"
[http]
listen = "127.0.0.1:7001"
[kafka]
bootstrap = "127.0.0.1:7010"
[registry]
url = "http://127.0.0.1:7040"
"#;

fn load(more: &str) -> Result<Config, ConfigError> {
    let text = format!("{LEAST}{more}");
    load_from(Some((Path::new("command-api.toml"), &text)), "NONE__", [])
}

#[test]
fn addresses_are_enough() {
    let config = load("").unwrap();
    config.validate().unwrap();
    assert_eq!(config.command.contexts, Context::ALL);
    assert!(!config.command.allow_quoted_prices && !config.command.allow_occurred_at);
    let checkout = config.checkout_settings(7);
    assert_eq!(checkout.inventory_partitions, 7);
    assert_eq!(checkout.payment_deadline_ms, 30 * 60 * 1000);
}

#[test]
fn an_unknown_key_is_refused_by_its_name() {
    for (more, key) in [
        ("[command]\nallow_quotes = true", "command.allow_quotes"),
        (
            "[checkout]\nallow_quoted_prices = true",
            "checkout.allow_quoted_prices",
        ),
        ("[shard]\nmailbox = 1", "shard.mailbox"),
        ("[postgres]\nurl = \"x\"", "postgres"),
    ] {
        let error = load(more).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn settings_that_make_no_sense_together_are_refused() {
    for (more, key) in [
        ("[command]\ncontexts = []", "command.contexts"),
        (
            "[command]\ncontexts = [\"catalog\", \"catalog\"]",
            "command.contexts",
        ),
        ("[command]\ndeadline_ms = 0", "command.deadline_ms"),
        ("[command]\nreply_wait_ms = 4000", "command.reply_wait_ms"),
        ("[command]\nwait_max_ms = 60000", "http.request_timeout_ms"),
        (
            "[checkout]\npayment_deadline_ms = -1",
            "checkout.payment_deadline_ms",
        ),
        ("[shard]\nmailbox_capacity = 0", "shard.mailbox_capacity"),
    ] {
        let error = load(more).unwrap().validate().unwrap_err();
        assert_eq!(error.key, key, "{error}");
    }
}
