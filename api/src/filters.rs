//! Filters and faults on the wire and in the log. What comes out of here changes no header that is the proxy's own.

use std::time::Duration;

use mesh::{Abort, Fault, Filters, HeaderChanges, Mirror, PathChange, Redirect};

use crate::field::{self, FieldError};
use crate::policy::{millis, number, span};
use crate::policy_rules::SOME_PERCENT;
use crate::route_rules::{
    FAULT_DELAY_MS, HEADERS_MAX, MIRRORS_MAX, changed_header_fault, header_value_fault, host_fault,
    path_fault,
};
use crate::v1;

fn checked(field: &str, value: &str, fault: Option<&'static str>) -> Result<(), FieldError> {
    fault.map_or(Ok(()), |rule| Err(FieldError::wrong(field, format_args!("{value:?}"), rule)))
}

impl TryFrom<&v1::HeaderChanges> for HeaderChanges {
    type Error = FieldError;

    fn try_from(message: &v1::HeaderChanges) -> Result<Self, FieldError> {
        for (field, count) in
            [("remove", message.remove.len()), ("set", message.set.len()), ("add", message.add.len())]
        {
            if count > HEADERS_MAX {
                let rule = format!("must be at most {HEADERS_MAX}");
                return Err(FieldError::wrong(field, format_args!("{count} items"), rule));
            }
        }
        for name in &message.remove {
            checked("remove", name, changed_header_fault(name))?;
        }
        let pairs = |field: &str, pairs: &[v1::HeaderValue]| {
            let pair = |pair: &v1::HeaderValue| {
                checked(field, &pair.name, changed_header_fault(&pair.name))?;
                checked(field, &pair.value, header_value_fault(&pair.value))?;
                Ok((pair.name.clone(), pair.value.clone()))
            };
            pairs.iter().map(pair).collect::<Result<Vec<_>, FieldError>>()
        };
        Ok(Self {
            remove: message.remove.clone(),
            set: pairs("set", &message.set)?,
            add: pairs("add", &message.add)?,
        })
    }
}

impl From<&HeaderChanges> for v1::HeaderChanges {
    fn from(changes: &HeaderChanges) -> Self {
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(name, value): &(String, String)| v1::HeaderValue {
                name: name.clone(),
                value: value.clone(),
            };
            pairs.iter().map(pair).collect()
        };
        Self { remove: changes.remove.clone(), set: pairs(&changes.set), add: pairs(&changes.add) }
    }
}

impl TryFrom<&v1::PathChange> for PathChange {
    type Error = FieldError;

    fn try_from(message: &v1::PathChange) -> Result<Self, FieldError> {
        match &message.change {
            Some(v1::path_change::Change::Full(path)) => {
                checked("full", path, path_fault(path))?;
                Ok(Self::Full(path.clone()))
            }
            Some(v1::path_change::Change::Prefix(path)) => {
                checked("prefix", path, path_fault(path))?;
                Ok(Self::Prefix(path.clone()))
            }
            None => Err(FieldError::missing("full or prefix")),
        }
    }
}

impl From<&PathChange> for v1::PathChange {
    fn from(change: &PathChange) -> Self {
        let change = match change {
            PathChange::Full(path) => v1::path_change::Change::Full(path.clone()),
            PathChange::Prefix(path) => v1::path_change::Change::Prefix(path.clone()),
        };
        Self { change: Some(change) }
    }
}

/// Text that is a host, or empty for none.
fn host(text: &str, field: &str) -> Result<Option<String>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    checked(field, text, host_fault(text))?;
    Ok(Some(text.to_owned()))
}

impl TryFrom<&v1::Redirect> for Redirect {
    type Error = FieldError;

    fn try_from(message: &v1::Redirect) -> Result<Self, FieldError> {
        let scheme = match message.scheme.as_str() {
            "" => None,
            scheme @ ("http" | "https") => Some(scheme.to_owned()),
            other => {
                return Err(FieldError::wrong("scheme", format_args!("{other:?}"), "must be http or https"));
            }
        };
        let port = match message.port {
            0 => None,
            number => Some(field::port(number, "port")?),
        };
        let status = u16::try_from(message.status).ok().filter(|status| Self::STATUSES.contains(status));
        Ok(Self {
            scheme,
            host: host(&message.host, "host")?,
            port,
            path: field::optional(message.path.as_ref(), "path")?,
            status: status.ok_or_else(|| {
                FieldError::wrong("status", message.status, "must be 301, 302, 303, 307 or 308")
            })?,
        })
    }
}

impl From<&Redirect> for v1::Redirect {
    fn from(redirect: &Redirect) -> Self {
        Self {
            scheme: redirect.scheme.clone().unwrap_or_default(),
            host: redirect.host.clone().unwrap_or_default(),
            port: redirect.port.map_or(0, u32::from),
            path: redirect.path.as_ref().map(Into::into),
            status: redirect.status.into(),
        }
    }
}

impl TryFrom<&v1::Mirror> for Mirror {
    type Error = FieldError;

    fn try_from(message: &v1::Mirror) -> Result<Self, FieldError> {
        Ok(Self {
            authority: field::required(message.authority.as_ref(), "authority")?,
            millionths: number(message.millionths, "millionths", &(0..=Self::ALL))?,
        })
    }
}

impl From<&Mirror> for v1::Mirror {
    fn from(mirror: &Mirror) -> Self {
        Self { authority: Some((&mirror.authority).into()), millionths: mirror.millionths }
    }
}

impl TryFrom<&v1::Filters> for Filters {
    type Error = FieldError;

    fn try_from(message: &v1::Filters) -> Result<Self, FieldError> {
        let headers = |changes: Option<&v1::HeaderChanges>, field| {
            Ok::<_, FieldError>(field::optional(changes, field)?.unwrap_or_default())
        };
        Ok(Self {
            request_headers: headers(message.request_headers.as_ref(), "request_headers")?,
            response_headers: headers(message.response_headers.as_ref(), "response_headers")?,
            redirect: field::optional(message.redirect.as_ref(), "redirect")?,
            host: host(&message.host, "host")?,
            path: field::optional(message.path.as_ref(), "path")?,
            mirrors: field::each(&message.mirrors, "mirrors", MIRRORS_MAX)?,
        })
    }
}

impl From<&Filters> for v1::Filters {
    fn from(filters: &Filters) -> Self {
        let headers = |changes: &HeaderChanges| (!changes.is_empty()).then(|| changes.into());
        Self {
            request_headers: headers(&filters.request_headers),
            response_headers: headers(&filters.response_headers),
            redirect: filters.redirect.as_ref().map(Into::into),
            host: filters.host.clone().unwrap_or_default(),
            path: filters.path.as_ref().map(Into::into),
            mirrors: filters.mirrors.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<&v1::Fault> for Fault {
    type Error = FieldError;

    fn try_from(message: &v1::Fault) -> Result<Self, FieldError> {
        let delay = match message.delay_percent {
            0 => None,
            percent => {
                let delay: Duration = span(message.delay_ms, "delay_ms", &FAULT_DELAY_MS)?;
                Some((number(percent, "delay_percent", &SOME_PERCENT)?, delay))
            }
        };
        let abort = match message.abort_percent {
            0 => None,
            percent => {
                let abort = match message.abort {
                    Some(v1::fault::Abort::HttpStatus(status)) => {
                        let status = number(status, "http_status", &(200..=599))?;
                        Abort::Http(u16::try_from(status).expect("the range holds it below 600"))
                    }
                    Some(v1::fault::Abort::GrpcStatus(status)) => {
                        let status = number(status, "grpc_status", &(0..=16))?;
                        Abort::Grpc(u8::try_from(status).expect("the range holds it below 17"))
                    }
                    None => return Err(FieldError::missing("http_status or grpc_status")),
                };
                Some((number(percent, "abort_percent", &SOME_PERCENT)?, abort))
            }
        };
        if delay.is_none() && abort.is_none() {
            return Err(FieldError::missing("delay_percent or abort_percent"));
        }
        Ok(Self { delay, abort })
    }
}

impl From<&Fault> for v1::Fault {
    fn from(fault: &Fault) -> Self {
        let abort = fault.abort.map(|(_, abort)| match abort {
            Abort::Http(status) => v1::fault::Abort::HttpStatus(status.into()),
            Abort::Grpc(status) => v1::fault::Abort::GrpcStatus(status.into()),
        });
        Self {
            delay_percent: fault.delay.map_or(0, |(percent, _)| percent),
            delay_ms: fault.delay.map_or(0, |(_, delay)| millis(delay)),
            abort_percent: fault.abort.map_or(0, |(percent, _)| percent),
            abort,
        }
    }
}
