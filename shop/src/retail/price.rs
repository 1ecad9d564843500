//! Prices as a retail file writes them: decimal text in pounds.

/// What a price text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// A whole number of pence, above zero.
    Minor(i64),
    /// No number, or one that no 64-bit amount can hold.
    NotANumber,
    /// Zero or below.
    NotPositive,
    /// Parts of a penny.
    NotInMinorUnits,
}

/// Reads decimal text (`2.55`, `.5`, `1e2`) exactly; no binary fraction is involved.
#[must_use]
pub fn read_price(text: &str) -> Price {
    parse(text.trim()).unwrap_or(Price::NotANumber)
}

fn parse(text: &str) -> Option<Price> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if negative || digits.bytes().all(|byte| byte == b'0') {
        return Some(Price::NotPositive);
    }
    // The value in pence is `digits` × 10^shift.
    let mut shift = exponent + 2 - i64::try_from(fraction.len()).ok()?;
    while shift < 0 && digits.ends_with('0') {
        digits.pop();
        shift += 1;
    }
    if shift < 0 {
        return Some(Price::NotInMinorUnits);
    }
    let factor = 10i64.checked_pow(u32::try_from(shift).ok()?)?;
    let minor = digits.parse::<i64>().ok()?.checked_mul(factor)?;
    Some(Price::Minor(minor))
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pounds_become_pence_exactly() {
        for (text, minor) in [
            ("2.55", 255),
            (" 0.1 ", 10),
            ("25.0", 2500),
            ("25", 2500),
            ("1.100", 110),
            (".29", 29),
            ("7.", 700),
            ("+3.10", 310),
            ("38970.0", 3_897_000),
            ("1e2", 10_000),
            ("129E-2", 129),
            ("0.070", 7),
        ] {
            assert_eq!(read_price(text), Price::Minor(minor), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_says_why() {
        for text in [
            "", "abc", "1,5", "NaN", "inf", ".", "1.2.3", "--1", "1e", "1e9999", "1e99",
        ] {
            assert_eq!(read_price(text), Price::NotANumber, "{text}");
        }
        for text in ["0", "0.00", "-11062.06", "-0", "-0.001", "0e5"] {
            assert_eq!(read_price(text), Price::NotPositive, "{text}");
        }
        for text in ["0.001", "1.235", "9.999", "1e-3"] {
            assert_eq!(read_price(text), Price::NotInMinorUnits, "{text}");
        }
    }
}
