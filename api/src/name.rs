//! Names on the wire: `QualifiedName`, `Authority`, `Revision`. The rules of names are `mesh`'s.

use mesh::{Authority, NameError, Revision, RouteKind, RouteName, ServiceName, WorkloadName};

use crate::field::{self, FieldError};
use crate::v1;

/// Longest name of a document: what Kubernetes allows (RFC 1123 subdomain).
const DOCUMENT_NAME_BYTES_MAX: usize = 253;

fn bad_name(error: NameError, message: &v1::QualifiedName) -> FieldError {
    match error {
        NameError::BadLabel { label, .. } => {
            let field = if label == message.name { "name" } else { "namespace" };
            FieldError::wrong(
                field,
                format_args!("{label:?}"),
                "must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'",
            )
        }
        other => FieldError::wrong("name", format_args!("{:?}", message.name), other.to_string()),
    }
}

impl TryFrom<&v1::QualifiedName> for ServiceName {
    type Error = FieldError;

    fn try_from(message: &v1::QualifiedName) -> Result<Self, FieldError> {
        Self::new(&message.name, &message.namespace).map_err(|error| bad_name(error, message))
    }
}

impl TryFrom<&v1::QualifiedName> for WorkloadName {
    type Error = FieldError;

    fn try_from(message: &v1::QualifiedName) -> Result<Self, FieldError> {
        Self::new(&message.name, &message.namespace).map_err(|error| bad_name(error, message))
    }
}

impl TryFrom<&v1::QualifiedName> for RouteName {
    type Error = FieldError;

    /// A route's name may hold dots, as Kubernetes' names do; its namespace is a label. The wire says its kind beside its
    /// name; here it is an `HTTPRoute`.
    fn try_from(message: &v1::QualifiedName) -> Result<Self, FieldError> {
        let fits = message.name.len() <= DOCUMENT_NAME_BYTES_MAX
            && message.name.split('.').all(|label| ServiceName::new(label, "default").is_ok());
        if !fits {
            let rule = "must be at most 253 of a-z, 0-9, '-' and '.', each part between dots beginning and ending \
                        with a letter or digit";
            return Err(FieldError::wrong("name", format_args!("{:?}", message.name), rule));
        }
        if ServiceName::new("x", &message.namespace).is_err() {
            let rule = "must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'";
            return Err(FieldError::wrong("namespace", format_args!("{:?}", message.namespace), rule));
        }
        Ok(Self { namespace: message.namespace.clone(), name: message.name.clone(), kind: RouteKind::Http })
    }
}

impl From<&ServiceName> for v1::QualifiedName {
    fn from(name: &ServiceName) -> Self {
        Self { name: name.name().to_owned(), namespace: name.namespace().to_owned() }
    }
}

impl From<&WorkloadName> for v1::QualifiedName {
    fn from(name: &WorkloadName) -> Self {
        Self { name: name.name().to_owned(), namespace: name.namespace().to_owned() }
    }
}

impl From<&RouteName> for v1::QualifiedName {
    fn from(name: &RouteName) -> Self {
        Self { name: name.name.clone(), namespace: name.namespace.clone() }
    }
}

impl TryFrom<&v1::Authority> for Authority {
    type Error = FieldError;

    fn try_from(message: &v1::Authority) -> Result<Self, FieldError> {
        let service = field::required(message.service.as_ref(), "service")?;
        Ok(Self::new(service, field::port(message.port, "port")?))
    }
}

impl From<&Authority> for v1::Authority {
    fn from(authority: &Authority) -> Self {
        Self { service: Some((&authority.service).into()), port: authority.port.into() }
    }
}

impl From<&v1::Revision> for Revision {
    fn from(message: &v1::Revision) -> Self {
        Self::new(message.epoch, message.index)
    }
}

impl From<Revision> for v1::Revision {
    fn from(revision: Revision) -> Self {
        Self { epoch: revision.epoch, index: revision.index }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn qualified(name: &str, namespace: &str) -> v1::QualifiedName {
        v1::QualifiedName { name: name.to_owned(), namespace: namespace.to_owned() }
    }

    #[test]
    fn an_authority_survives_the_wire() {
        let authority: Authority = "web.shop:8080".parse().unwrap();
        assert_eq!(Authority::try_from(&v1::Authority::from(&authority)).unwrap(), authority);
    }

    #[test]
    fn a_name_that_is_no_label_is_refused_with_its_field() {
        for (name, namespace, told) in [
            ("", "default", r#"name = "": must be 1 to 63"#),
            ("Web", "default", r#"name = "Web": must be 1 to 63"#),
            ("web", "", r#"namespace = "": must be 1 to 63"#),
            ("web", "a.b", r#"namespace = "a.b": must be 1 to 63"#),
        ] {
            let error = ServiceName::try_from(&qualified(name, namespace)).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn an_authority_without_a_service_or_with_port_zero_is_refused() {
        let mut message = v1::Authority { service: None, port: 80 };
        assert_eq!(Authority::try_from(&message).unwrap_err().to_string(), "service: is missing");
        message.service = Some(qualified("web", "default"));
        message.port = 65_536;
        assert_eq!(
            Authority::try_from(&message).unwrap_err().to_string(),
            "port = 65536: must be 1 to 65535"
        );
    }

    #[test]
    fn a_route_name_may_hold_dots_and_its_namespace_may_not() {
        assert!(RouteName::try_from(&qualified("web.canary", "default")).is_ok());
        assert!(RouteName::try_from(&qualified("web..canary", "default")).is_err());
        assert!(RouteName::try_from(&qualified("web", "a.b")).is_err());
    }
}
