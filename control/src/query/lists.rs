//! `services` and `endpoints`: what the catalog holds, as rows. Pure: a request and a catalog in, rows out.

use api::FieldError;
use api::v1::{
    EndpointRow, EndpointsRequest, EndpointsResponse, ServiceRow, ServicesRequest, ServicesResponse,
};
use mesh::{Authority, Health, ServiceName};

use super::near;
use crate::catalog::{Catalog, StoredEndpoint, StoredService};

/// Why there are no rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    /// The request has no meaning.
    #[error("{0}")]
    Invalid(#[from] FieldError),
    /// It names what does not exist.
    #[error("{0}")]
    NotFound(String),
}

/// Every service of the namespace asked for.
pub(super) fn services(catalog: &Catalog, request: &ServicesRequest) -> ServicesResponse {
    let asked = |name: &ServiceName| request.namespace.is_empty() || name.namespace() == request.namespace;
    let rows = catalog.services().filter(|(name, _)| asked(name));
    let services = rows.map(|(name, stored)| service_row(catalog, name, stored)).collect();
    ServicesResponse { services, ..ServicesResponse::default() }
}

fn service_row(catalog: &Catalog, name: &ServiceName, stored: &StoredService) -> ServiceRow {
    let (mut ready, mut all) = (0, 0);
    for authority in authorities(stored) {
        for endpoint in catalog.endpoints(&authority).iter().flat_map(|(_, endpoints)| endpoints.iter()) {
            all += 1;
            ready += u32::from(endpoint.health == Health::Ready);
        }
    }
    ServiceRow {
        service: Some(stored.service.as_ref().into()),
        ready_endpoints: ready,
        endpoints: all,
        routes: u32::try_from(catalog.route_count(name)).unwrap_or(u32::MAX),
        revision: Some(stored.revision.into()),
    }
}

/// Every endpoint of the service or namespace asked for.
pub(super) fn endpoints(
    catalog: &Catalog,
    request: &EndpointsRequest,
) -> Result<EndpointsResponse, ListError> {
    let asked = request.service.as_ref().map(ServiceName::try_from).transpose();
    let asked = asked.map_err(|error| error.within("service"))?;
    let stored: Vec<&StoredService> = match &asked {
        Some(name) => vec![catalog.service(name).ok_or_else(|| not_found(catalog, name))?],
        None => catalog.services().map(|(_, stored)| stored).collect(),
    };
    let wanted = |authority: &Authority| {
        request.namespace.is_empty() || authority.service.namespace() == request.namespace
    };
    let mut rows = Vec::new();
    for authority in stored.into_iter().flat_map(authorities).filter(wanted) {
        rows.extend(catalog.registrations(&authority).map(|stored| EndpointRow {
            authority: Some((&authority).into()),
            endpoint: Some(stored.endpoint.into()),
            revision: Some(stored.revision.into()),
            lease_seconds: stored.lease_seconds,
        }));
    }
    Ok(EndpointsResponse { endpoints: rows, ..EndpointsResponse::default() })
}

fn not_found(catalog: &Catalog, name: &ServiceName) -> ListError {
    let known: Vec<String> = catalog.services().map(|(name, _)| name.to_string()).collect();
    let known = known.iter().map(String::as_str);
    ListError::NotFound(near::not_found("service", &name.to_string(), known))
}

/// Every endpoint there is.
pub(super) fn endpoints_of_all(catalog: &Catalog) -> impl Iterator<Item = StoredEndpoint<'_>> {
    let authorities = catalog.services().flat_map(|(_, stored)| authorities(stored));
    authorities.flat_map(|authority| catalog.registrations(&authority).collect::<Vec<_>>())
}

fn authorities(stored: &StoredService) -> impl Iterator<Item = Authority> {
    let service = &stored.service;
    service.ports.iter().map(|port| Authority::new(service.name.clone(), port.port))
}
