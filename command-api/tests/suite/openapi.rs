//! The API's description is complete.

use std::collections::BTreeSet;

use cartwright_command_api::routes;
use cartwright_domain::Reason;
use http::Method;
use serde_json::Value;

use crate::harness::{Call, Service};

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let service = Service::start().await;
    let document = service.get("/openapi.json").await.json();
    let routes: BTreeSet<_> = routes::table()
        .iter()
        .map(|r| (r.method.to_string(), r.path.to_owned()))
        .collect();
    assert_eq!(operations(&document), routes);
    for (method, path) in routes {
        let path = path
            .replace("{line}", "1")
            .replace("{sku}", "mug")
            .replace("{id}", "cart");
        let method: Method = method.parse().unwrap();
        let answer = service.send(Call::new(method.clone(), &path)).await;
        let unrouted =
            matches!(answer.status.as_u16(), 405) || answer.text().contains("route_not_found");
        assert!(!unrouted, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_described_with_their_headers_and_problems() {
    let document = serde_json::to_value(cartwright_command_api::openapi::document()).unwrap();
    for (method, path) in operations(&document) {
        if !path.starts_with("/v1/") || method == "GET" {
            continue;
        }
        let operation = &document["paths"][&path][method.to_lowercase()];
        let parameters = operation["parameters"].as_array().unwrap();
        let key = parameters
            .iter()
            .find(|p| p["name"] == "Idempotency-Key")
            .unwrap();
        assert_eq!(key["required"], method == "POST", "{method} {path}");
        for name in path
            .split('/')
            .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
        {
            let named = parameters
                .iter()
                .any(|p| p["name"] == name && p["in"] == "path");
            assert!(named, "{method} {path}: {name}");
        }
        let responses = operation["responses"].as_object().unwrap();
        for status in [
            "400", "403", "404", "409", "412", "413", "415", "421", "422", "500", "503", "504",
        ] {
            let content = &responses[status]["content"];
            assert!(
                content["application/problem+json"].is_object(),
                "{method} {path}: {status}"
            );
        }
        let prefer = parameters.iter().filter(|p| p["name"] == "Prefer");
        let told: Vec<_> = prefer.map(|p| p["description"].to_string()).collect();
        assert_eq!(told.len(), 1, "{method} {path}");
        assert!(told[0].contains("respond-async"), "{method} {path}");
        let queued = responses["202"]["content"].to_string();
        assert!(queued.contains("QueuedBody"), "{method} {path}");
        let accepted = responses
            .iter()
            .find(|(status, _)| matches!(status.as_str(), "200" | "201"))
            .unwrap()
            .1;
        assert!(
            accepted["headers"]["Cartwright-Position"].is_object(),
            "{method} {path}"
        );
    }
}

#[test]
fn every_reason_is_described() {
    let text = cartwright_command_api::openapi::document()
        .to_json()
        .unwrap();
    for reason in Reason::ALL {
        assert!(
            text.contains(&format!("`{}`", reason.code())),
            "{}",
            reason.code()
        );
    }
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let document = serde_json::to_value(cartwright_command_api::openapi::document()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_leads_to_the_description() {
    let service = Service::start().await;
    let index = service.get("/").await.json();
    assert_eq!(index["service"], "cartwright-command-api");
    let openapi = index["links"]["openapi"].as_str().unwrap();
    assert!(
        service.get(openapi).await.json()["openapi"]
            .as_str()
            .unwrap()
            .starts_with("3.")
    );
    let metrics = service.get("/metrics").await;
    assert!(
        metrics.text().contains("cartwright_shard_serving"),
        "{}",
        metrics.text()
    );
    assert_eq!(service.get("/livez").await.status, 200);
}
