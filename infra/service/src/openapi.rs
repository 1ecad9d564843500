//! Parts of a description that both APIs are made of.

use utoipa::openapi::Required;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// A header that a request may have.
#[must_use]
pub fn request_header(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// A header of an answer.
#[must_use]
pub fn header(description: &str, of: Type) -> Header {
    HeaderBuilder::new()
        .description(Some(description))
        .schema(ObjectBuilder::new().schema_type(of))
        .build()
}

/// A header of an answer that holds text.
#[must_use]
pub fn text_header(description: &str) -> Header {
    header(description, Type::String)
}
