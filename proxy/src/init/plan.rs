//! Which connections of a host go to the proxy, and which are left alone. A value; what is wrong with it is told at once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::settings::InboundMode;

/// What the rules are to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The proxy's outbound port; `None`: what the application sends is left alone.
    pub outbound_port: Option<u16>,
    /// The proxy's inbound port; `None`: what comes to the application is left alone.
    pub inbound_port: Option<u16>,
    /// How what comes to the application is brought there.
    pub inbound_mode: InboundMode,
    /// The user that the proxy runs as: its own connections are left alone.
    pub user: u32,
    /// Destination ports of the application's connections that are left alone.
    pub skip_outbound_ports: Vec<u16>,
    /// Ports of this host to which connections are left alone.
    pub skip_inbound_ports: Vec<u16>,
    /// Connections to (outbound) and from (inbound) these are left alone.
    pub skip_subnets: Vec<Subnet>,
}

/// A range of addresses, as in `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no subnet: expected an address with its prefix, as in 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.unwrap_or(most);
        if prefix > most {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

/// A family of addresses, as the tools name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Plan {
    /// Whether the application is to see its callers' own addresses.
    pub(super) fn keeps_callers(&self) -> bool {
        self.inbound_port.is_some() && self.inbound_mode == InboundMode::Tproxy
    }

    /// The subnets of one family.
    pub(super) fn subnets(&self, family: Family) -> Vec<Subnet> {
        let of = |subnet: &&Subnet| subnet.is_ipv4() == (family == Family::V4);
        self.skip_subnets.iter().filter(of).copied().collect()
    }
}

/// `1, 2` of numbers and other short things.
pub(super) fn list<T: ToString>(items: &[T], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
pub(super) fn example() -> Plan {
    let subnet = |text: &str| text.parse().expect("it is a subnet");
    Plan {
        outbound_port: Some(4140),
        inbound_port: Some(4143),
        inbound_mode: InboundMode::Redirect,
        user: 2102,
        skip_outbound_ports: vec![25, 4567],
        skip_inbound_ports: vec![22, 4191],
        skip_subnets: vec![subnet("10.200.0.0/16"), subnet("fd00:9::/64")],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_subnet_is_read_with_and_without_its_prefix_and_others_are_refused() {
        for (text, shown) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.1", "10.0.0.1/32"), ("fd00::/8", "fd00::/8")]
        {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), shown);
        }
        for text in
            ["10.0.0.0/33", "fd00::/129", "ten/8", "10.0.0.0/", "10.0.0/8", "10.0.0.0/8; flush ruleset"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
