//! Rules of query parameters that several routes share.

use cartwright_events::Timestamp;
use cartwright_service::problem::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

/// Rows of a page when nothing is said.
pub const DEFAULT_LIMIT: u32 = 50;
/// The most rows of a page of a list.
pub const MAX_LIMIT: u32 = 500;
/// The most rows of a page of a report.
pub const MAX_REPORT_LIMIT: u32 = 5_000;
/// The longest search, in characters.
pub const MAX_SEARCH_LEN: usize = 200;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// For routes that take no other parameters than what every read takes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadParameters {
    /// The name of a point in time that the view was built for; without it, the present. (Read by
    /// [`Ask`](crate::ask::Ask).)
    #[serde(rename = "as_of")]
    pub _as_of: Option<String>,
}

/// The page's size.
///
/// # Errors
/// 422 when it is not in 1..=`most`.
pub fn limit(given: Option<u32>, most: u32) -> Result<u32, Problem> {
    let limit = given.unwrap_or(DEFAULT_LIMIT);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid_field(
        "limit",
        "value",
        format!("must be 1 to {most}"),
    ))
}

/// What to search for, without white space at its ends.
///
/// # Errors
/// 422 when nothing is left, or more than [`MAX_SEARCH_LEN`] characters.
pub fn search(text: &str) -> Result<&str, Problem> {
    let text = text.trim();
    let fits = (1..=MAX_SEARCH_LEN).contains(&text.chars().count());
    if fits && !text.contains('\0') {
        return Ok(text);
    }
    Err(Problem::invalid_field(
        "q",
        "length",
        format!("must be 1 to {MAX_SEARCH_LEN} printable characters"),
    ))
}

/// Days from `from` (inclusive) to `to` (exclusive), in UTC; `None` is open on that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The start of the first day.
    pub from: Option<Timestamp>,
    /// The start of the day after the last.
    pub to: Option<Timestamp>,
}

impl Days {
    /// Reads both dates.
    ///
    /// # Errors
    /// 422 that names the one that is no date, or `from` when it is after `to`.
    pub fn new(from: Option<&str>, to: Option<&str>) -> Result<Self, Problem> {
        let from = from.map(|text| day("from", text)).transpose()?;
        let to = to.map(|text| day("to", text)).transpose()?;
        if let (Some(first), Some(end)) = (from, to)
            && first > end
        {
            let detail = "must not be after `to`";
            return Err(Problem::invalid_field("from", "value", detail));
        }
        Ok(Self { from, to })
    }
}

fn day(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    let digits = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    let shaped = text.len() == 10 && text.as_bytes().iter().all(digits);
    let start = shaped
        .then(|| format!("{text}T00:00:00Z").parse::<Timestamp>().ok())
        .flatten()
        .filter(|start| start.as_micros().rem_euclid(MICROS_PER_DAY) == 0);
    start.ok_or_else(|| {
        let detail = "must be a day (UTC) as YYYY-MM-DD, such as 2011-01-31";
        Problem::invalid_field(field, "format", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(problem: &Problem) -> (&str, &str) {
        let error = &problem.body().errors[0];
        (&error.field, &error.rule)
    }

    #[test]
    fn a_page_has_a_bounded_size() {
        assert_eq!(limit(None, MAX_LIMIT).unwrap(), 50);
        assert_eq!(limit(Some(500), MAX_LIMIT).unwrap(), 500);
        for wrong in [0, 501] {
            let problem = limit(Some(wrong), MAX_LIMIT).unwrap_err();
            assert_eq!(field(&problem), ("limit", "value"));
        }
    }

    #[test]
    fn days_are_half_open_and_in_order() {
        let days = Days::new(Some("2010-12-01"), Some("2011-01-01")).unwrap();
        assert_eq!(days.from.unwrap().to_string(), "2010-12-01T00:00:00Z");
        assert_eq!(days.to.unwrap().to_string(), "2011-01-01T00:00:00Z");
        assert!(Days::new(Some("2011-01-01"), Some("2011-01-01")).is_ok());
        let open = Days {
            from: None,
            to: None,
        };
        assert_eq!(Days::new(None, None).unwrap(), open);
        let problem = Days::new(Some("2011-01-02"), Some("2011-01-01")).unwrap_err();
        assert_eq!(field(&problem), ("from", "value"));
    }

    #[test]
    fn what_is_no_day_is_named() {
        for wrong in [
            "2011-02-30",
            "2011-2-3",
            "20110203",
            "2011-02-03T00:00:00Z",
            "31-01-2011",
            "yesterday!",
            "",
        ] {
            let problem = Days::new(None, Some(wrong)).unwrap_err();
            assert_eq!(field(&problem), ("to", "format"), "{wrong}");
        }
    }

    #[test]
    fn a_search_is_not_empty_and_not_endless() {
        assert_eq!(search("  red mug ").unwrap(), "red mug");
        for wrong in ["", "   ", "a\0b", &"a".repeat(201)] {
            assert_eq!(field(&search(wrong).unwrap_err()), ("q", "length"));
        }
    }
}
