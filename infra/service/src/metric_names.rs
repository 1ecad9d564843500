//! The names of the metrics that every service has.

/// Counter: requests answered, by `route`, `method` and `status`.
pub const HTTP_REQUESTS: &str = "cartwright_http_requests_total";

/// Histogram: seconds from a request's head to its response's head, by `route`, `method` and
/// `status`.
pub const HTTP_REQUEST_SECONDS: &str = "cartwright_http_request_duration_seconds";

/// Gauge: requests being answered.
pub const HTTP_IN_FLIGHT: &str = "cartwright_http_requests_in_flight";

/// Counter: requests refused at the limit on requests in flight.
pub const HTTP_OVERLOADED: &str = "cartwright_http_requests_overloaded_total";

/// Gauge: open connections.
pub const HTTP_CONNECTIONS: &str = "cartwright_http_connections";
