//! A `Service` of Kubernetes' `v1`, as Penstock reads it: its name and its ports.
//!
//! `clusterIP` and `clusterIPs` are the virtual addresses by which callers that are intercepted mean it.
//! Endpoints come by registration, so `selector`, `type: ClusterIP` and `targetPort` are read and have no effect. A
//! port without `appProtocol` speaks HTTP/1.1. Everything else that a `Service` may say is refused in words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::{ADDRESSES_MAX, PORTS_MAX, is_virtual};
use mesh::{Protocol, Service, ServiceName, ServicePort};
use runtime::yaml::Node;

use super::complaints::Complaints;
use super::fields::{Fields, shown};
use super::metadata::Metadata;

const UNSUPPORTED: [&str; 15] = [
    "allocateLoadBalancerNodePorts",
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
];

/// Reads the rest of a document whose kind is `Service`.
pub(super) fn read(
    document: &mut Fields<'_>,
    metadata: &Metadata,
    complaints: &mut Complaints,
) -> Option<Service> {
    let name: Option<ServiceName> = metadata.noun(complaints);
    if document.take("spec").is_none() {
        document.missing("spec", "a Service has a `spec` with `ports`", complaints);
        return None;
    }
    let mut spec = document.fields("spec", complaints)?;
    let had = complaints.count();
    let items = spec.list("ports", PORTS_MAX, complaints);
    if items.is_empty() && complaints.count() == had {
        spec.missing("ports", "a Service has at least one port", complaints);
    }
    let several = items.len() > 1;
    let mut seen = Seen::default();
    let ports: Vec<_> =
        items.iter().map(|(path, item)| port(item, path, several, &mut seen, complaints)).collect();
    let addresses = addresses(&mut spec, complaints);
    spec.ignore(&["selector"]);
    spec.only(
        "type",
        &["ClusterIP"],
        "Penstock carries traffic within the mesh; write ClusterIP or leave it out",
        complaints,
    );
    spec.refuse(&UNSUPPORTED, "leave it out", complaints);
    spec.finish(complaints);
    let mut ports: Vec<ServicePort> = ports.into_iter().collect::<Option<_>>()?;
    ports.sort_by_key(|port| port.port);
    (!ports.is_empty()).then_some(())?;
    Some(Service { name: name?, ports, addresses: addresses.into_iter().collect() })
}

/// The virtual addresses that `clusterIPs` and `clusterIP` name; `None` (a headless service) has none.
fn addresses(spec: &mut Fields<'_>, complaints: &mut Complaints) -> BTreeSet<IpAddr> {
    let first = spec.text("clusterIP", complaints).map(|(text, at)| (spec.path("clusterIP"), text, at));
    let items = spec.list("clusterIPs", ADDRESSES_MAX, complaints);
    let mut named: Vec<_> = first.into_iter().collect();
    for (path, item) in items {
        match item.text() {
            Some(text) => named.push((path, text, item.position)),
            None => complaints.add(item.position, &path, format!("must be text, is {}", item.kind())),
        }
    }
    let mut addresses = BTreeSet::new();
    for (path, text, position) in named {
        if text.is_empty() || text == "None" {
            continue;
        }
        match text.parse().ok().filter(is_virtual) {
            Some(address) => {
                addresses.insert(address);
            }
            None => complaints.add(
                position,
                &path,
                format!("{} must be None, or an IP address that is no host's own", shown(text)),
            ),
        }
    }
    if addresses.len() > ADDRESSES_MAX {
        spec.missing("clusterIPs", "name the address of clusterIP as the first of them", complaints);
    }
    addresses
}

/// Names and numbers of the ports so far, and the paths where they stand.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, String>,
    numbers: BTreeMap<u16, String>,
}

fn port(
    node: &Node,
    path: &str,
    several: bool,
    seen: &mut Seen,
    complaints: &mut Complaints,
) -> Option<ServicePort> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let number = fields.port("port", complaints);
    if number.is_none() && complaints.count() == had {
        fields.missing("port", "the number that callers use, 1 to 65535", complaints);
    }
    if let Some(number) = number
        && let Some(first) = seen.numbers.insert(number, path.to_owned())
    {
        complaints.add(
            node.position,
            &fields.path("port"),
            format!("{number} is there twice, first at {first}"),
        );
    }
    let name = port_name(&mut fields, several, seen, complaints);
    let protocol = fields.text("appProtocol", complaints).and_then(|(text, position)| {
        let protocol = Protocol::named(text);
        if protocol.is_none() {
            let message = format!("{} must be http, http2, kubernetes.io/h2c, grpc or tcp", shown(text));
            complaints.add(position, &fields.path("appProtocol"), message);
        }
        protocol
    });
    fields.only("protocol", &["TCP"], "only TCP is carried; write TCP or leave it out", complaints);
    if let Some(target) = fields.take("targetPort")
        && target.text().is_none()
    {
        let message = format!("must be a port's number or name, is {}", target.kind());
        complaints.add(target.position, &fields.path("targetPort"), message);
    }
    fields.refuse(&["nodePort"], "Penstock opens no port on nodes; leave it out", complaints);
    fields.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    Some(ServicePort { name, port: number?, protocol: protocol.unwrap_or_default() })
}

fn port_name(fields: &mut Fields<'_>, several: bool, seen: &mut Seen, complaints: &mut Complaints) -> String {
    let path = fields.path("name");
    let had = complaints.count();
    let Some((name, position)) = fields.text("name", complaints) else {
        if several && complaints.count() == had {
            fields.missing("name", "each port has a name where a Service has several", complaints);
        }
        return String::new();
    };
    if ServiceName::new(name, "default").is_err() {
        let rule = "must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'";
        complaints.add(position, &path, format!("{} {rule}", shown(name)));
    } else if let Some(first) = seen.names.insert(name.to_owned(), path.clone()) {
        complaints.add(position, &path, format!("{} is there twice, first at {first}", shown(name)));
    }
    name.to_owned()
}
