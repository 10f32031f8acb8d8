//! Matches of routes on the wire and in the log: paths, headers, parameters, calls of gRPC.

use std::collections::BTreeSet;

use mesh::{GrpcMatch, HeaderMatch, MatchKind, PathMatch, QueryMatch, RouteMatch};

use crate::field::{self, FieldError};
use crate::pattern::pattern_text_fault;
use crate::route_rules::{
    HEADERS_MAX, METHODS, grpc_method_fault, grpc_service_fault, header_name_fault, header_value_fault,
    path_fault,
};
use crate::v1;

fn fault(field: &str, value: &str, fault: Option<&'static str>) -> Result<(), FieldError> {
    fault.map_or(Ok(()), |rule| Err(FieldError::wrong(field, format_args!("{value:?}"), rule)))
}

impl TryFrom<&v1::HeaderMatch> for HeaderMatch {
    type Error = FieldError;

    fn try_from(message: &v1::HeaderMatch) -> Result<Self, FieldError> {
        fault("name", &message.name, header_name_fault(&message.name))?;
        if message.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(FieldError::wrong("name", format_args!("{:?}", message.name), "must be lower case"));
        }
        let name = message.name.clone();
        match &message.value {
            Some(v1::header_match::Value::Exact(value)) => {
                fault("exact", value, header_value_fault(value))?;
                Ok(Self { name, value: value.clone(), kind: MatchKind::Exact })
            }
            Some(v1::header_match::Value::Prefix(value)) => {
                fault("prefix", value, header_value_fault(value))?;
                Ok(Self { name, value: value.clone(), kind: MatchKind::Prefix })
            }
            Some(v1::header_match::Value::Pattern(value)) => {
                fault("pattern", value, pattern_text_fault(value))?;
                Ok(Self { name, value: value.clone(), kind: MatchKind::Pattern })
            }
            Some(v1::header_match::Value::Present(true)) => {
                Ok(Self { name, value: String::new(), kind: MatchKind::Present })
            }
            Some(v1::header_match::Value::Present(false)) => {
                Err(FieldError::wrong("present", false, "must be true: absence cannot be matched"))
            }
            None => Err(FieldError::missing("exact, prefix or present")),
        }
    }
}

impl From<&HeaderMatch> for v1::HeaderMatch {
    fn from(header: &HeaderMatch) -> Self {
        let value = match header.kind {
            MatchKind::Exact => v1::header_match::Value::Exact(header.value.clone()),
            MatchKind::Prefix => v1::header_match::Value::Prefix(header.value.clone()),
            MatchKind::Present => v1::header_match::Value::Present(true),
            MatchKind::Pattern => v1::header_match::Value::Pattern(header.value.clone()),
        };
        Self { name: header.name.clone(), value: Some(value) }
    }
}

impl TryFrom<&v1::QueryMatch> for QueryMatch {
    type Error = FieldError;

    fn try_from(message: &v1::QueryMatch) -> Result<Self, FieldError> {
        fault("name", &message.name, header_name_fault(&message.name))?;
        let (value, kind) = match &message.value {
            Some(v1::query_match::Value::Exact(value)) => (value.as_str(), MatchKind::Exact),
            Some(v1::query_match::Value::Prefix(value)) => (value.as_str(), MatchKind::Prefix),
            Some(v1::query_match::Value::Pattern(value)) => (value.as_str(), MatchKind::Pattern),
            Some(v1::query_match::Value::Present(true)) => ("", MatchKind::Present),
            Some(v1::query_match::Value::Present(false)) => {
                return Err(FieldError::wrong("present", false, "must be true: absence cannot be matched"));
            }
            None => return Err(FieldError::missing("exact, prefix or present")),
        };
        match kind {
            MatchKind::Present => {}
            MatchKind::Pattern => fault("pattern", value, pattern_text_fault(value))?,
            MatchKind::Exact | MatchKind::Prefix => fault("value", value, header_value_fault(value))?,
        }
        Ok(Self { name: message.name.clone(), value: value.to_owned(), kind })
    }
}

impl From<&QueryMatch> for v1::QueryMatch {
    fn from(query: &QueryMatch) -> Self {
        let value = match query.kind {
            MatchKind::Exact => v1::query_match::Value::Exact(query.value.clone()),
            MatchKind::Prefix => v1::query_match::Value::Prefix(query.value.clone()),
            MatchKind::Present => v1::query_match::Value::Present(true),
            MatchKind::Pattern => v1::query_match::Value::Pattern(query.value.clone()),
        };
        Self { name: query.name.clone(), value: Some(value) }
    }
}

impl TryFrom<&v1::RouteMatch> for RouteMatch {
    type Error = FieldError;

    fn try_from(message: &v1::RouteMatch) -> Result<Self, FieldError> {
        let path = match &message.path {
            None => None,
            Some(v1::route_match::Path::PathExact(path)) => {
                fault("path_exact", path, path_fault(path))?;
                Some(PathMatch::Exact(path.clone()))
            }
            Some(v1::route_match::Path::PathPrefix(path)) => {
                fault("path_prefix", path, path_fault(path))?;
                Some(PathMatch::Prefix(path.clone()))
            }
            Some(v1::route_match::Path::PathPattern(pattern)) => {
                fault("path_pattern", pattern, pattern_text_fault(pattern))?;
                Some(PathMatch::Pattern(pattern.clone()))
            }
        };
        let method = match message.method.as_str() {
            "" => None,
            method if METHODS.contains(&method) => Some(method.to_owned()),
            other => {
                let rule = format!("must be one of {}", METHODS.join(", "));
                return Err(FieldError::wrong("method", format_args!("{other:?}"), rule));
            }
        };
        let headers: Vec<HeaderMatch> = field::each(&message.headers, "headers", HEADERS_MAX)?;
        let mut names = BTreeSet::new();
        for (at, header) in headers.iter().enumerate() {
            if !names.insert(&header.name) {
                let error = FieldError::wrong("name", format_args!("{:?}", header.name), "is there twice");
                return Err(error.within(&format!("headers[{at}]")));
            }
        }
        let query: Vec<QueryMatch> = field::each(&message.query, "query", HEADERS_MAX)?;
        let grpc = field::optional(message.grpc.as_ref(), "grpc")?;
        Ok(Self { path, headers, query, method, grpc })
    }
}

impl From<&RouteMatch> for v1::RouteMatch {
    fn from(route_match: &RouteMatch) -> Self {
        let path = route_match.path.as_ref().map(|path| match path {
            PathMatch::Exact(path) => v1::route_match::Path::PathExact(path.clone()),
            PathMatch::Prefix(path) => v1::route_match::Path::PathPrefix(path.clone()),
            PathMatch::Pattern(pattern) => v1::route_match::Path::PathPattern(pattern.clone()),
        });
        Self {
            path,
            headers: route_match.headers.iter().map(Into::into).collect(),
            method: route_match.method.clone().unwrap_or_default(),
            query: route_match.query.iter().map(Into::into).collect(),
            grpc: route_match.grpc.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&v1::GrpcMatch> for GrpcMatch {
    type Error = FieldError;

    fn try_from(message: &v1::GrpcMatch) -> Result<Self, FieldError> {
        let named = |text: &str, field: &str, rule: fn(&str) -> Option<&'static str>| {
            if text.is_empty() {
                return Ok(None);
            }
            let rule = if message.pattern { pattern_text_fault } else { rule };
            fault(field, text, rule(text)).map(|()| Some(text.to_owned()))
        };
        Ok(Self {
            service: named(&message.service, "service", grpc_service_fault)?,
            method: named(&message.method, "method", grpc_method_fault)?,
            is_pattern: message.pattern,
        })
    }
}

impl From<&GrpcMatch> for v1::GrpcMatch {
    fn from(grpc: &GrpcMatch) -> Self {
        Self {
            service: grpc.service.clone().unwrap_or_default(),
            method: grpc.method.clone().unwrap_or_default(),
            pattern: grpc.is_pattern,
        }
    }
}
