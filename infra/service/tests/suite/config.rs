use std::ffi::OsString;
use std::path::Path;

use cartwright_service::config::{
    Cassandra, ConfigError, ENV_PREFIX, Http, Kafka, Log, LogFormat, Postgres, Secret, load,
    load_from,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    http: Http,
    kafka: Kafka,
    postgres: Postgres,
    cassandra: Cassandra,
    #[serde(default)]
    log: Log,
}

const FILE: &str = r#"
[http]
listen = "127.0.0.1:7001"
[kafka]
bootstrap = "127.0.0.1:7010"
[postgres]
url = "postgres://shop:hunter2@127.0.0.1:7030/shop"
[cassandra]
nodes = ["127.0.0.1:7020"]
"#;

fn read(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let environment = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load_from(
        Some((Path::new("shop.toml"), file)),
        ENV_PREFIX,
        environment,
    )
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    read(file, environment).unwrap_err().to_string()
}

#[test]
fn what_is_not_set_has_its_documented_default() {
    let settings = read(FILE, &[]).unwrap();
    assert_eq!(settings.http.max_body_bytes, 1024 * 1024);
    assert_eq!(settings.http.request_timeout_ms, 30_000);
    assert_eq!(settings.cassandra.keyspace, "cartwright");
    assert_eq!(settings.postgres.max_connections, 8);
    assert_eq!(settings.log, Log::default());
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = read(
        FILE,
        &[
            ("CARTWRIGHT__HTTP__LISTEN", "127.0.0.1:9999"),
            ("CARTWRIGHT__HTTP__MAX_IN_FLIGHT", "7"),
            ("CARTWRIGHT__CASSANDRA__NODES", r#"["a:1", "b:2"]"#),
            ("CARTWRIGHT__LOG__FORMAT", "json"),
            ("CARTWRIGHT_BASE_PORT", "7000"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(settings.http.listen.port(), 9999);
    assert_eq!(settings.http.max_in_flight, 7);
    assert_eq!(settings.cassandra.nodes, ["a:1", "b:2"]);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn a_string_that_reads_as_another_type_stays_as_it_was_written() {
    let environment = [
        ("CARTWRIGHT__CASSANDRA__USER", "true"),
        ("CARTWRIGHT__CASSANDRA__PASSWORD", "0x10"),
        ("CARTWRIGHT__CASSANDRA__KEYSPACE", "1e3"),
    ];
    let settings = read(FILE, &environment).unwrap();
    assert_eq!(settings.cassandra.credentials(), Some(("true", "0x10")));
    assert_eq!(settings.cassandra.keyspace, "1e3");
}

#[test]
fn a_value_cannot_bring_further_keys_along() {
    let environment = [("CARTWRIGHT__CASSANDRA__KEYSPACE", "1\nkeyspace = 2")];
    let settings = read(FILE, &environment).unwrap();
    assert_eq!(settings.cassandra.keyspace, "1\nkeyspace = 2");
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_comes_from() {
    let misspelt = FILE.replace("[kafka]", "max_bodybytes = 1\n[kafka]");
    let refused = refusal(&misspelt, &[]);
    assert!(
        refused.contains("`http.max_bodybytes` (in shop.toml)"),
        "{refused}"
    );

    let refused = refusal(FILE, &[("CARTWRIGHT__HTTP__LISTENN", "x")]);
    assert!(
        refused.contains("`http.listenn` (from CARTWRIGHT__HTTP__LISTENN)"),
        "{refused}"
    );
    let refused = refusal(&format!("{FILE}[htp]\n"), &[]);
    assert!(refused.contains("`htp` (in shop.toml)"), "{refused}");
}

#[test]
fn a_missing_key_is_named() {
    let refused = refusal(&FILE.replace("bootstrap = \"127.0.0.1:7010\"", ""), &[]);
    assert!(refused.contains("`kafka.bootstrap`"), "{refused}");
    let refused = refusal(&FILE.replace("[\"127.0.0.1:7020\"]", "[]"), &[]);
    assert!(
        refused.contains("`cassandra.nodes`") && refused.contains("at least one"),
        "{refused}"
    );
}

#[test]
fn a_value_of_the_wrong_type_names_key_and_variable() {
    let environment = [("CARTWRIGHT__HTTP__MAX_IN_FLIGHT", "many")];
    let refused = refusal(FILE, &environment);
    assert!(
        refused.contains("`http.max_in_flight` (from CARTWRIGHT__HTTP__MAX_IN_FLIGHT)"),
        "{refused}"
    );
    let refused = refusal(FILE, &[("CARTWRIGHT__CASSANDRA__NODES", "[1, 2]")]);
    assert!(
        refused.contains("CARTWRIGHT__CASSANDRA__NODES"),
        "{refused}"
    );
}

#[test]
fn a_limit_of_zero_is_refused() {
    for name in [
        "HTTP__MAX_IN_FLIGHT",
        "HTTP__MAX_CONNECTIONS",
        "POSTGRES__MAX_CONNECTIONS",
    ] {
        let variable = format!("CARTWRIGHT__{name}");
        let refused = refusal(FILE, &[(&variable, "0")]);
        assert!(refused.contains(&variable), "{refused}");
    }
}

#[test]
fn a_variable_that_contradicts_or_names_nothing_is_refused() {
    let refused = refusal(FILE, &[("CARTWRIGHT__HTTP____LISTEN", "x")]);
    assert!(refused.contains("CARTWRIGHT__HTTP____LISTEN"), "{refused}");
    let both = [
        ("CARTWRIGHT__LOG__LEVEL", "info"),
        ("CARTWRIGHT__log__level", "warn"),
    ];
    let refused = refusal(FILE, &both);
    assert!(refused.contains("another variable"), "{refused}");
    let refused = refusal(FILE, &[("CARTWRIGHT__HTTP__LISTEN__PORT", "1")]);
    assert!(refused.contains("`listen` is a value"), "{refused}");
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_named() {
    let missing = Path::new("no/such/file.toml");
    let refused = load::<Settings>(Some(missing), ENV_PREFIX).unwrap_err();
    assert!(refused.to_string().contains("no/such/file.toml"));
    let refused = refusal("[http]\nlisten = \n", &[]);
    assert!(refused.contains("shop.toml, line 2"), "{refused}");
}

#[test]
fn no_secret_is_printed_not_even_by_an_error() {
    let settings = read(FILE, &[]).unwrap();
    assert!(settings.postgres.url.expose().contains("hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(Secret::new("hunter2").to_string(), "<secret>");

    let number = FILE.replace("\"postgres://shop:hunter2@127.0.0.1:7030/shop\"", "4711");
    let refused = refusal(&number, &[]);
    assert!(
        refused.contains("`postgres.url`") && !refused.contains("4711"),
        "{refused}"
    );
    let broken = refusal("[postgres]\nurl = \"hunter2", &[]);
    assert!(!broken.contains("hunter2"), "{broken}");

    let properties = format!("{FILE}[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n");
    let settings = read(&properties, &[]).unwrap();
    assert_eq!(
        settings.kafka.properties["sasl.password"].expose(),
        "hunter2"
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
}
