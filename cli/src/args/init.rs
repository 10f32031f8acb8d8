//! Arguments of `proxy init`, and what else `proxy` does beside running one.

use std::str::FromStr;

use clap::{Subcommand, ValueEnum};
use proxy::init::{Backend, Plan, Subnet};
use proxy::settings::InboundMode;

use super::UpgradeArgs;

/// What `proxy` does beside running one.
#[derive(Debug, Subcommand)]
pub enum ProxyCommand {
    /// Sends this host's connections to the proxy: writes, shows or removes nftables or iptables rules
    Init(InitArgs),
    /// Starts a proxy in the place of the running one of the same name, without a lost connection
    Upgrade(Box<UpgradeArgs>),
}

/// Which tool writes the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitBackend {
    /// nftables
    Nft,
    /// iptables and ip6tables, whatever stands behind them
    Iptables,
    /// iptables-legacy and ip6tables-legacy
    IptablesLegacy,
}

impl From<InitBackend> for Backend {
    fn from(backend: InitBackend) -> Self {
        match backend {
            InitBackend::Nft => Self::Nft,
            InitBackend::Iptables => Self::Iptables,
            InitBackend::IptablesLegacy => Self::IptablesLegacy,
        }
    }
}

/// How what comes to the application is brought to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitInboundMode {
    /// By a new destination (REDIRECT); the application sees the proxy as its caller
    Redirect,
    /// As it comes (TPROXY); the application sees its callers' addresses. The proxy needs --inbound-mode tproxy too
    Tproxy,
}

impl From<InitInboundMode> for InboundMode {
    fn from(mode: InitInboundMode) -> Self {
        match mode {
            InitInboundMode::Redirect => Self::Redirect,
            InitInboundMode::Tproxy => Self::Tproxy,
        }
    }
}

/// A number of a port, or a range as in `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports(u16, u16);

/// Longest range: each port of it becomes an entry of a rule.
const RANGE_MAX: u16 = 1000;

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected a port from 1 to 65535, or a range of at most {RANGE_MAX}, as in 8000-8010");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first == 0 || last < first || last - first >= RANGE_MAX {
            return Err(wrong());
        }
        Ok(Self(first, last))
    }
}

/// Arguments of `proxy init`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Run it as root, once per host or container, before the application starts; run it again after a change. The proxy runs as \
the user of --user, with --intercept. What the mesh does not know is passed on unchanged.

Examples:
  penstock proxy init --user 2102 --dry-run                    only show the rules
  penstock proxy init --user 2102 --skip-outbound-ports 25,53  both directions, but not mail and DNS
  penstock proxy init --user 2102 --inbound-port 0             only what the application sends
  penstock proxy init --user 2102 --inbound-mode tproxy        the application sees who calls it
  penstock proxy init --remove                                 take all rules away")]
pub struct InitArgs {
    /// User that the proxy runs as, by number: its own connections are left alone
    #[arg(long, value_name = "UID", default_value_t = 2102)]
    user: u32,

    /// The proxy's outbound port; 0 leaves alone what the application sends
    #[arg(long, value_name = "PORT", default_value_t = 4140)]
    outbound_port: u16,

    /// The proxy's inbound port; 0 leaves alone what comes to the application
    #[arg(long, value_name = "PORT", default_value_t = 4143)]
    inbound_port: u16,

    /// How what comes to the application is brought there
    #[arg(long, value_enum, value_name = "MODE", default_value = "redirect")]
    inbound_mode: InitInboundMode,

    /// Ports elsewhere to which the application's connections are left alone
    #[arg(long, value_name = "PORT[-PORT],...", value_delimiter = ',')]
    skip_outbound_ports: Vec<Ports>,

    /// Ports of this host to which connections are left alone; the default keeps ssh and the proxy's admin port
    #[arg(long, value_name = "PORT[-PORT],...", value_delimiter = ',', default_value = "22,4191")]
    skip_inbound_ports: Vec<Ports>,

    /// Subnets to and from which connections are left alone
    #[arg(long, value_name = "ADDRESS/PREFIX,...", value_delimiter = ',')]
    skip_subnets: Vec<Subnet>,

    /// Tool that writes the rules; without it nft where it is installed, else iptables
    #[arg(long, value_enum)]
    pub backend: Option<InitBackend>,

    /// Take all rules away that init wrote
    #[arg(long)]
    pub remove: bool,

    /// Only show what would be run
    #[arg(long)]
    pub dry_run: bool,
}

impl InitArgs {
    /// The rules that are asked for; `None`: none.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        let ports = |ranges: &[Ports]| ranges.iter().flat_map(|Ports(first, last)| *first..=*last).collect();
        let port = |port: u16| (port > 0).then_some(port);
        (!self.remove).then(|| Plan {
            outbound_port: port(self.outbound_port),
            inbound_port: port(self.inbound_port),
            inbound_mode: self.inbound_mode.into(),
            user: self.user,
            skip_outbound_ports: ports(&self.skip_outbound_ports),
            skip_inbound_ports: ports(&self.skip_inbound_ports),
            skip_subnets: self.skip_subnets.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn ports_are_read_alone_and_as_ranges_and_others_are_refused() {
        assert_eq!("80".parse::<Ports>().unwrap(), Ports(80, 80));
        assert_eq!("8000-8010".parse::<Ports>().unwrap(), Ports(8000, 8010));
        for text in ["0", "65536", "80-79", "1-2000", "http", "80;", "-", ""] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
