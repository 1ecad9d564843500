//! The API's description.

use cartwright_domain::Reason;
use cartwright_service::openapi::{header, request_header, text_header};
use cartwright_service::problem::{FieldError, MEDIA_TYPE, ProblemBody};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, OneOfBuilder, OpenApi, Ref, RefOr, Required, Schema};
use utoipa::{Modify, OpenApi as _};

use crate::call::{IDEMPOTENCY_KEY, MAX_KEY_LEN, POSITION};
use crate::respond_async::QueuedBody;
use crate::routes::{body, carts, checkout, commands, index, orders, products, stock};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Cartwright command API",
        description = "Commands to the catalog, the inventory and the checkout. Reads are query-api's."
    ),
    paths(
        index::index,
        index::openapi,
        commands::status,
        products::create,
        products::change_price,
        products::retire,
        stock::receive,
        stock::adjust,
        carts::create,
        carts::add_item,
        carts::change_item,
        carts::remove_item,
        checkout::check_out,
        orders::pay,
        orders::ship,
        orders::take_back,
        orders::cancel,
    ),
    components(schemas(body::AcceptedBody, body::CheckoutBody, body::Money, QueuedBody, ProblemBody, FieldError)),
    tags(
        (name = "catalog", description = "Products and their prices"),
        (name = "inventory", description = "Stock of each SKU"),
        (name = "checkout", description = "Carts and orders"),
        (name = "service", description = "The service itself"),
    ),
    modifiers(&Common)
)]
struct Document;

/// The whole description.
#[must_use]
pub fn document() -> OpenApi {
    Document::openapi()
}

/// What every command has: its headers and its problems.
struct Common;

const JSON: &str = "application/json";

/// What can come back instead, by status.
const PROBLEMS: [(&str, &str); 12] = [
    (
        "400",
        "The request cannot be read: `malformed_body`, `malformed_path`, `idempotency_key_missing`, `idempotency_key_malformed`, `if_match_malformed`, `position_malformed`",
    ),
    ("403", "A setting forbids it"),
    ("404", "What it is about does not exist"),
    (
        "409",
        "It does not fit the present state, or what was done under the same reference",
    ),
    (
        "412",
        "The aggregate is not at the version that `If-Match` names",
    ),
    ("413", "`body_too_large`"),
    ("415", "`unsupported_media_type`"),
    (
        "421",
        "`context_not_served`: the context is served elsewhere",
    ),
    (
        "422",
        "`invalid_field` with the fields and the rules, `idempotency_key_reused`, or a reason by name",
    ),
    ("500", "`internal`: an error on our side"),
    (
        "503",
        "Not now; repeat after `Retry-After` seconds. Nothing was begun (`overloaded`, `deadline_passed`, `shard_unavailable`, `shard_moving`, `prices_loading`, `prices_unavailable`) or it is not known (`outcome_unknown`): a retry with the same key is safe",
    ),
    (
        "504",
        "`position_not_reached`: the prices are not yet at the position, nothing was begun; `request_timeout`: what became of it is not known, and a retry with the same key is safe",
    ),
];

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if !path.starts_with("/v1/") {
                continue;
            }
            if let Some(operation) = &mut item.post {
                describe(operation, Required::True, is_priced(path));
            }
            for operation in [&mut item.put, &mut item.delete].into_iter().flatten() {
                describe(operation, Required::False, is_priced(path));
            }
        }
    }
}

fn is_priced(path: &str) -> bool {
    path.starts_with("/v1/carts")
}

fn describe(operation: &mut Operation, key_required: Required, priced: bool) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(
        ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(key_required)
            .description(Some(format!(
                "{}: new for every new intent, the same for every retry, by draft-ietf-httpapi-idempotency-key-header-07",
                IDEMPOTENCY_KEY.as_str()
            )))
            .schema(Some(
                ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX_KEY_LEN)),
            ))
            .example(Some("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"".into()))
            .build(),
    );
    parameters.push(
        ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The version at which the aggregate was seen, as an answer's `ETag` gave it: at any other the answer is 412 with both"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .example(Some("\"3\"".into()))
            .build(),
    );
    prefer_respond_async(parameters);
    if priced {
        parameters.push(request_header(
            "Cartwright-Position",
            "Prices must have taken this position in; the command waits for it, within a limit",
        ));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            response.headers.insert(
                "Cartwright-Position".to_owned(),
                text_header(&format!(
                    "Where the command's events stand: give it to a read as `{}`",
                    POSITION.as_str()
                )),
            );
            response.headers.insert(
                "ETag".to_owned(),
                text_header("The aggregate's version, for `If-Match`"),
            );
            response.headers.insert(
                "X-Request-Id".to_owned(),
                text_header("Id of the request, the client's own if it sent one"),
            );
        }
    }
    queued(operation);
    for (status, description) in PROBLEMS {
        operation
            .responses
            .responses
            .insert(status.to_owned(), problem(status, description));
    }
}

/// Where a preference is described already, this is one more.
fn prefer_respond_async(parameters: &mut Vec<Parameter>) {
    let description =
        "`respond-async`: do not wait; 202 once it is durable in the inbox of its shard";
    match parameters.iter_mut().find(|each| each.name == "Prefer") {
        Some(prefer) => {
            let known = prefer.description.get_or_insert_default();
            known.push_str("; or ");
            known.push_str(description);
        }
        None => parameters.push(request_header("Prefer", description)),
    }
}

/// The answer to a command whose caller does not wait, beside another 202 where there is one.
fn queued(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    let description =
        "With `Prefer: respond-async`: it is durable, and `status_url` tells what becomes of it";
    let body = RefOr::Ref(Ref::from_schema_name("QueuedBody"));
    if let Some(RefOr::T(other)) = responses.get_mut("202") {
        let content = other.content.entry(JSON.to_owned()).or_default();
        let one_of = content.schema.take().into_iter().chain([body]);
        let one_of = one_of.fold(OneOfBuilder::new(), OneOfBuilder::item);
        content.schema = Some(Schema::OneOf(one_of.build()).into());
        other.description.push_str(". ");
        other.description.push_str(description);
        return;
    }
    let content = ContentBuilder::new().schema(Some(body)).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content(JSON, content)
        .header("Location", text_header("Where to ask for the command"))
        .header("Preference-Applied", text_header("`respond-async`"));
    responses.insert("202".to_owned(), response.build().into());
}

fn problem(status: &str, description: &str) -> RefOr<utoipa::openapi::Response> {
    let kind = match status {
        "403" => Some("NotAllowed"),
        "404" => Some("NotFound"),
        "409" => Some("Conflict"),
        "412" => Some("Precondition"),
        "422" => Some("Invalid"),
        _ => None,
    };
    let mut text = description.to_owned();
    if let Some(kind) = kind {
        let reasons = Reason::ALL
            .iter()
            .filter(|reason| format!("{:?}", reason.kind()) == kind);
        for reason in reasons {
            text.push_str(&format!("\n* `{}`: {}", reason.code(), reason.title()));
        }
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let mut response = ResponseBuilder::new()
        .description(text)
        .content(MEDIA_TYPE, content);
    if status == "503" {
        response = response.header("Retry-After", header("Seconds", Type::Integer));
    }
    response.build().into()
}
