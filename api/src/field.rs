//! Why a message has no meaning: which field, what it held, which rule it broke. The first step of every conversion
//! from the wire; the text goes back to whoever sent the message.

use std::fmt;

/// Longest part of a bad value that is told again: enough to recognise it, too short to fill a log with.
const SHOWN_BYTES_MAX: usize = 80;

/// A field of a message that has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FieldError {
    /// Its path from the message down, for instance `endpoint.weight`.
    pub field: String,
    /// What it held; `None` when it was missing.
    pub value: Option<String>,
    /// What was expected.
    pub rule: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.field, self.rule),
            None => write!(f, "{}: {}", self.field, self.rule),
        }
    }
}

impl FieldError {
    /// A field that holds what it may not.
    pub(crate) fn wrong(field: &str, value: impl fmt::Display, rule: impl Into<String>) -> Self {
        let mut value = value.to_string();
        if value.len() > SHOWN_BYTES_MAX {
            let end = (0..=SHOWN_BYTES_MAX).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
            value.truncate(end);
            value.push_str("...");
        }
        Self { field: field.to_owned(), value: Some(value), rule: rule.into() }
    }

    /// A field that must be there and is not.
    pub(crate) fn missing(field: &str) -> Self {
        Self { field: field.to_owned(), value: None, rule: "is missing".to_owned() }
    }

    /// The same fault, seen from the message that holds this one as `field`. An empty path means the whole message.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => field.to_owned(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        self
    }
}

/// The noun in a field that must be there.
pub(crate) fn required<'a, M, T>(message: Option<&'a M>, field: &str) -> Result<T, FieldError>
where
    T: TryFrom<&'a M, Error = FieldError>,
{
    let message = message.ok_or_else(|| FieldError::missing(field))?;
    T::try_from(message).map_err(|error| error.within(field))
}

/// The noun in a field that may be left out.
pub(crate) fn optional<'a, M, T>(message: Option<&'a M>, field: &str) -> Result<Option<T>, FieldError>
where
    T: TryFrom<&'a M, Error = FieldError>,
{
    message.map(|message| T::try_from(message).map_err(|error| error.within(field))).transpose()
}

/// The nouns of a repeated field, at most `max`.
pub(crate) fn each<'a, M, T>(messages: &'a [M], field: &str, max: usize) -> Result<Vec<T>, FieldError>
where
    T: TryFrom<&'a M, Error = FieldError>,
{
    if messages.len() > max {
        return Err(FieldError::wrong(
            field,
            format_args!("{} items", messages.len()),
            format!("must be at most {max}"),
        ));
    }
    let convert = |(at, message)| {
        T::try_from(message).map_err(|error: FieldError| error.within(&format!("{field}[{at}]")))
    };
    messages.iter().enumerate().map(convert).collect()
}

/// A number of 1 to 65535.
pub(crate) fn port(number: u32, field: &str) -> Result<u16, FieldError> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(FieldError::wrong(field, number, "must be 1 to 65535")),
    }
}

/// Text of at least `min` and at most `max` bytes, without control characters.
pub(crate) fn text(value: &str, field: &str, min: usize, max: usize) -> Result<String, FieldError> {
    if value.len() < min || value.len() > max {
        return Err(FieldError::wrong(
            field,
            format_args!("{value:?}"),
            format!("must be {min} to {max} bytes, is {}", value.len()),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(FieldError::wrong(field, format_args!("{value:?}"), "must not hold control characters"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_path_from_the_outermost_message_down() {
        let error =
            FieldError::wrong("weight", 5000, "must be 1 to 1000").within("backends[1]").within("rules[0]");
        assert_eq!(error.to_string(), "rules[0].backends[1].weight = 5000: must be 1 to 1000");
        assert_eq!(FieldError::missing("endpoint").to_string(), "endpoint: is missing");
    }

    #[test]
    fn a_long_value_is_told_in_part_only() {
        let error = FieldError::wrong("name", "ä".repeat(1000), "must be short");
        assert!(error.to_string().len() < 120, "{error}");
    }
}
