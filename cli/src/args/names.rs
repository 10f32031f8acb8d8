//! Names as people type them: `web`, `web.shop`, `svc/web`, `workloads`, `httproute/canary`.

use std::str::FromStr;

use api::v1::{GroupBy, QualifiedName};
use mesh::ServiceName;

/// A name that may leave its namespace to `-n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    parsed: ServiceName,
    namespace_given: bool,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse::<ServiceName>().map_err(|error| error.to_string())?;
        Ok(Self { parsed, namespace_given: text.contains('.') })
    }
}

impl Name {
    /// The name on the wire; a namespace that was not given is `namespace`, or else `default`.
    #[must_use]
    pub fn within(&self, namespace: Option<&str>) -> QualifiedName {
        let namespace = match namespace {
            Some(namespace) if !self.namespace_given => namespace,
            _ => self.parsed.namespace(),
        };
        QualifiedName { name: self.parsed.name().to_owned(), namespace: namespace.to_owned() }
    }
}

/// A namespace: one DNS label.
///
/// # Errors
/// If it is not one.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    ServiceName::new("any", text).map_err(|_| {
        format!("{text:?} is not a namespace: expected 1 to 63 of a-z, 0-9 and '-', no '-' at either end")
    })?;
    Ok(text.to_owned())
}

/// What `stat` can show one row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// A service and port.
    Service,
    /// What answers behind services.
    Workload,
}

impl ResourceKind {
    /// As the wire says it.
    #[must_use]
    pub fn group_by(self) -> GroupBy {
        match self {
            Self::Service => GroupBy::Service,
            Self::Workload => GroupBy::Workload,
        }
    }

    fn named(word: &str) -> Option<Self> {
        match word {
            "service" | "services" | "svc" => Some(Self::Service),
            "workload" | "workloads" | "wl" | "deployment" | "deployments" | "deploy" => Some(Self::Workload),
            _ => None,
        }
    }
}

/// What `stat` is asked for: a kind, and perhaps one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Services or workloads.
    pub kind: ResourceKind,
    /// Only this one.
    pub name: Option<Name>,
}

impl FromStr for Resource {
    type Err = String;

    /// `services`, `svc/web`, `workloads`, `deploy/web`; a word that is no kind is the name of a service.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((kind, name)) = text.split_once('/') {
            let kind = ResourceKind::named(kind).ok_or_else(|| {
                format!("{kind:?} is not a kind: expected service or workload, as in svc/web")
            })?;
            return Ok(Self { kind, name: Some(name.parse()?) });
        }
        match ResourceKind::named(text) {
            Some(kind) => Ok(Self { kind, name: None }),
            None => Ok(Self { kind: ResourceKind::Service, name: Some(text.parse()?) }),
        }
    }
}

/// A kind of document that `apply` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// Kubernetes' `Service`.
    Service,
    /// Gateway API's `HTTPRoute`.
    HttpRoute,
    /// Gateway API's `GRPCRoute`.
    GrpcRoute,
    /// Penstock's own `TrafficPolicy`.
    TrafficPolicy,
    /// Each of them.
    All,
}

impl DocumentKind {
    /// As documents and the wire say it; each kind is said by nothing.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::All => "",
        }
    }
}

impl FromStr for DocumentKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "service" | "services" | "svc" => Ok(Self::Service),
            "httproute" | "httproutes" | "route" | "routes" => Ok(Self::HttpRoute),
            "grpcroute" | "grpcroutes" => Ok(Self::GrpcRoute),
            "trafficpolicy" | "trafficpolicies" | "policy" | "policies" => Ok(Self::TrafficPolicy),
            "all" => Ok(Self::All),
            _ => {
                let expected = "expected service, httproute, grpcroute, trafficpolicy or all";
                Err(format!("{text:?} is not a kind: {expected}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_namespace_is_taken_from_the_flag_only_where_the_name_has_none() {
        let said = |text: &str| text.parse::<Name>().unwrap().within(Some("shop"));
        assert_eq!(said("web").namespace, "shop");
        assert_eq!(said("web.other").namespace, "other");
        assert_eq!("web".parse::<Name>().unwrap().within(None).namespace, "default");
    }

    #[test]
    fn a_resource_is_a_kind_a_kind_and_name_or_a_service() {
        let parsed = |text: &str| text.parse::<Resource>().unwrap();
        assert_eq!(parsed("workloads"), Resource { kind: ResourceKind::Workload, name: None });
        assert_eq!(parsed("svc/web"), parsed("web"));
        assert_eq!(parsed("deploy/web").kind, ResourceKind::Workload);
        assert!("pod/web".parse::<Resource>().is_err());
        assert!("svc/We_b".parse::<Resource>().is_err());
    }
}
