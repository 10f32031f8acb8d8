//! Arguments of the commands that ask, and the requests that they become.

use api::v1;
use clap::ValueEnum;

use super::names::namespace;
use super::{Name, Resource, Span, StatWindow};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// Aligned columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON, for programs
    Json,
}

/// Where to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectionArgs {
    /// Control nodes to ask, each tried in turn until one answers
    #[arg(long, value_name = "HOST:PORT,...", env = "PENSTOCK_CONTROL", hide_env_values = true)]
    #[arg(value_delimiter = ',', default_value = "127.0.0.1:4100")]
    pub control: Vec<String>,

    /// How long to wait for an answer, all tries included
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    pub timeout: Span,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct AgeArgs {
    /// Take an answer that may miss the last SPAN of changes; without it, none is missed
    #[arg(long, value_name = "SPAN")]
    pub stale: Option<Span>,
}

impl AgeArgs {
    /// As a request says it.
    #[must_use]
    pub fn stale_ms_max(&self) -> u64 {
        self.stale.map_or(0, |stale| u64::try_from(stale.0.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Arguments of `stat`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Rows are counted by the proxies beside the callees; with --from or --to, by those beside the callers. Figures come in \
windows of ten seconds; the one that runs is not in them yet.

Examples:
  penstock stat                           each service
  penstock stat workloads -n shop         each workload of a namespace
  penstock stat svc/web --window 10m      one service over ten minutes
  penstock stat --from web                each service that the workload web calls: who is to blame?
  penstock stat --to reviews -o wide      calls to reviews, with failures by reason
  penstock stat -o json | jq '.rows[] | select(.success_rate < 0.99)'")]
pub struct StatArgs {
    /// services, workloads, svc/NAME, workload/NAME, or the name of a service
    #[arg(default_value = "services")]
    pub resource: Resource,

    /// Only calls of this workload
    #[arg(long, value_name = "WORKLOAD")]
    pub from: Option<Name>,

    /// Only calls to this service or workload
    #[arg(long, value_name = "NAME")]
    pub to: Option<Name>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub traffic: TrafficArgs,
}

/// Arguments of `edges`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Edges are counted by the proxies beside the callers.

Examples:
  penstock edges                     who calls whom, and how well that goes
  penstock edges --from web          only calls of the workload web
  penstock edges -o wide             with requests, failures by reason, retries, bytes")]
pub struct EdgesArgs {
    /// Only calls of this workload
    #[arg(long, value_name = "WORKLOAD")]
    pub from: Option<Name>,

    /// Only calls to this service or workload
    #[arg(long, value_name = "NAME")]
    pub to: Option<Name>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub traffic: TrafficArgs,
}

/// What `stat` and `edges` share.
#[derive(Debug, clap::Args)]
pub struct TrafficArgs {
    /// Only this namespace; names given without one are taken to be in it
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,

    /// How much of the past to sum
    #[arg(long, short = 't', value_name = "SPAN", default_value = "1m")]
    pub window: StatWindow,

    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub age: AgeArgs,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

impl TrafficArgs {
    fn request(&self, from: Option<&Name>, to: Option<&Name>) -> v1::StatRequest {
        let namespace = self.namespace.as_deref();
        v1::StatRequest {
            from: from.map(|name| name.within(namespace)),
            to: to.map(|name| name.within(namespace)),
            window_seconds: self.window.seconds,
            namespace: namespace.unwrap_or_default().to_owned(),
            stale_ms_max: self.age.stale_ms_max(),
            ..v1::StatRequest::default()
        }
    }
}

impl StatArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::StatRequest {
        let namespace = self.traffic.namespace.as_deref();
        v1::StatRequest {
            group_by: self.resource.kind.group_by().into(),
            resource: self.resource.name.as_ref().map(|name| name.within(namespace)),
            ..self.traffic.request(self.from.as_ref(), self.to.as_ref())
        }
    }
}

impl EdgesArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::StatRequest {
        v1::StatRequest {
            group_by: v1::GroupBy::Edge.into(),
            ..self.traffic.request(self.from.as_ref(), self.to.as_ref())
        }
    }
}

/// Arguments of `services`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock services                  each service
  penstock services -n shop -o json  those of a namespace, for a program
  penstock services --stale 1m       also from a node that has lost its leader up to a minute ago")]
pub struct ServicesArgs {
    /// Only this namespace
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,

    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub age: AgeArgs,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

/// Arguments of `endpoints`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock endpoints                 each endpoint of each service
  penstock endpoints web -o wide     those of one service, with zone, lease and revision")]
pub struct EndpointsArgs {
    /// Only this service
    pub service: Option<Name>,

    /// Only this namespace; a service named without one is taken to be in it
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,

    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub age: AgeArgs,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

impl EndpointsArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::EndpointsRequest {
        v1::EndpointsRequest {
            service: self.service.as_ref().map(|name| name.within(self.namespace.as_deref())),
            namespace: self.namespace.clone().unwrap_or_default(),
            stale_ms_max: self.age.stale_ms_max(),
        }
    }
}

/// Arguments of `proxies`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A proxy is `current` when it holds the newest revision of all it asked for, `behind` while a change is on its way, and \
`refused` when it would not take the newest; it then goes on with the last good one.

Examples:
  penstock proxies                   each connected proxy
  penstock proxies -o wide           with the reason of the last refusal")]
pub struct ProxiesArgs {
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}
