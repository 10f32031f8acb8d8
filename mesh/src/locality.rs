//! Where an endpoint or a proxy stands, for preferring what is near.

/// Region and zone, either may be empty when unknown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Locality {
    /// For instance `eu-west-1`.
    pub region: String,
    /// For instance `eu-west-1b`.
    pub zone: String,
}
