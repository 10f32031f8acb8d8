//! Names of services and workloads, and the authority by which a caller asks for a service.
//! Every other crate parses names here, so that `web`, `web.default` and the full form mean the same everywhere.

use std::fmt;
use std::str::FromStr;

/// Namespace of a name that states none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Suffix of a full service name, as Kubernetes' DNS has it.
pub const CLUSTER_DOMAIN: &str = "svc.cluster.local";

/// Longest label that DNS can carry (RFC 1035, section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Port of an authority that states none: plain HTTP's.
const DEFAULT_PORT: u16 = 80;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A part is not a DNS label (RFC 1123, section 2.1).
    #[error(
        "{name:?} is not a name: {label:?} must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'"
    )]
    BadLabel {
        /// The text as it was given.
        name: String,
        /// The part that is wrong.
        label: String,
    },
    /// It has more parts than `name.namespace` (with or without the cluster's domain).
    #[error(
        "{name:?} is not a name in this mesh: expected name, name.namespace or name.namespace.{CLUSTER_DOMAIN}"
    )]
    Foreign {
        /// The text as it was given.
        name: String,
    },
    /// The part after the colon is not a port.
    #[error("{name:?} has a bad port: expected a number from 1 to 65535")]
    BadPort {
        /// The text as it was given.
        name: String,
    },
}

fn check_label(name: &str, label: &str) -> Result<(), NameError> {
    let bytes = label.as_bytes();
    let fits = !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-';
    if fits { Ok(()) } else { Err(NameError::BadLabel { name: name.to_owned(), label: label.to_owned() }) }
}

/// Both labels as one text, and where the second begins.
fn joined(namespace: &str, name: &str) -> (Box<str>, u8) {
    let mut text = String::with_capacity(namespace.len() + 1 + name.len());
    text.push_str(namespace);
    text.push(BETWEEN);
    let begin = u8::try_from(text.len()).expect("a label has at most 63 bytes");
    text.push_str(name);
    (text.into(), begin)
}

/// Between the two labels of a stored name: less than each letter of a label, so that whole texts are ordered by namespace, then
/// name.
const BETWEEN: char = '\0';

/// Splits `name[.namespace[.svc[.cluster.local]]]` into its two labels; case does not matter (RFC 4343).
fn labels(text: &str) -> Result<(Box<str>, u8), NameError> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let mut parts = lower.splitn(3, '.');
    let name = parts.next().unwrap_or_default();
    let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
    match parts.next() {
        None | Some("svc" | CLUSTER_DOMAIN) => {}
        Some(_) => return Err(NameError::Foreign { name: text.to_owned() }),
    }
    check_label(text, name)?;
    check_label(text, namespace)?;
    Ok(joined(namespace, name))
}

macro_rules! qualified_name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            // One text, because names are compared and copied far more often than taken apart: each registration looks into
            // several maps by them.
            text: Box<str>,
            begin: u8,
        }

        impl $type {
            /// A name from its two labels.
            ///
            /// # Errors
            /// If either is not a DNS label.
            pub fn new(name: &str, namespace: &str) -> Result<Self, NameError> {
                check_label(name, name)?;
                check_label(namespace, namespace)?;
                let (text, begin) = joined(namespace, name);
                Ok(Self { text, begin })
            }

            /// The first label.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.text[usize::from(self.begin)..]
            }

            /// The second label.
            #[must_use]
            pub fn namespace(&self) -> &str {
                &self.text[..usize::from(self.begin) - BETWEEN.len_utf8()]
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let (text, begin) = labels(text)?;
                Ok(Self { text, begin })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.name(), self.namespace())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }
    };
}

qualified_name! {
    /// A service: a named set of endpoints. Shown as `name.namespace`; ordered by namespace, then name.
    ServiceName
}
qualified_name! {
    /// A workload: what runs behind or before a proxy (a deployment). Shown as `name.namespace`.
    WorkloadName
}

/// A service and one of its ports: what callers ask for, and the name of every xDS resource about it.
///
/// Shown in the full form, `web.default.svc.cluster.local:80`; parsed from any of `web`, `web.default`,
/// `web.default.svc` and the full form, each with or without `:port` (80 when left out).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// The service.
    pub service: ServiceName,
    /// The service's port, not the port of an endpoint.
    pub port: u16,
}

impl Authority {
    /// The authority of `port` at `service`.
    #[must_use]
    pub fn new(service: ServiceName, port: u16) -> Self {
        Self { service, port }
    }
}

impl FromStr for Authority {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (host, port) = match text.rsplit_once(':') {
            None => (text, DEFAULT_PORT),
            Some((host, port)) => match port.parse() {
                Ok(port) if port > 0 => (host, port),
                _ => return Err(NameError::BadPort { name: text.to_owned() }),
            },
        };
        Ok(Self { service: host.parse()?, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{CLUSTER_DOMAIN}:{}", self.service, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn names_are_ordered_by_namespace_and_then_by_name_also_where_one_begins_like_another() {
        let labels = ["a", "a-a", "a0", "aa", "b", "ab"];
        let pairs = || labels.iter().flat_map(|space| labels.iter().map(move |name| (*space, *name)));
        for left in pairs() {
            for right in pairs() {
                let [one, other] = [left, right].map(|(space, name)| ServiceName::new(name, space).unwrap());
                assert_eq!(one.cmp(&other), left.cmp(&right), "{one} and {other}");
                assert_eq!((one.namespace(), one.name()), left);
            }
        }
    }

    #[test]
    fn every_way_to_say_a_service_means_the_same() {
        for text in [
            "web",
            "web.default",
            "WEB.default.svc",
            "web.default.svc.cluster.local",
            "web.default.svc.cluster.local.",
        ] {
            assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), "web.default", "{text}");
        }
    }

    #[test]
    fn an_authority_is_shown_in_full_and_survives_a_round_trip() {
        let authority: Authority = "web.shop:8080".parse().unwrap();
        assert_eq!(authority.to_string(), "web.shop.svc.cluster.local:8080");
        assert_eq!(authority.to_string().parse::<Authority>().unwrap(), authority);
        assert_eq!("web".parse::<Authority>().unwrap().port, 80);
    }

    #[test]
    fn foreign_and_malformed_names_are_refused() {
        assert!(matches!("www.example.com".parse::<ServiceName>(), Err(NameError::Foreign { .. })));
        assert!(matches!("-web".parse::<ServiceName>(), Err(NameError::BadLabel { .. })));
        assert!(matches!("".parse::<ServiceName>(), Err(NameError::BadLabel { .. })));
        assert!(matches!("web:0".parse::<Authority>(), Err(NameError::BadPort { .. })));
        assert!(matches!("web:65536".parse::<Authority>(), Err(NameError::BadPort { .. })));
        assert!(ServiceName::new("we.b", "default").is_err());
    }
}
