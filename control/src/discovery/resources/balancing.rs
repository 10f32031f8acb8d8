//! Balancing and ejection of a cluster, in xDS's words, as far as they go: Envoy follows all of them but the zone preference,
//! which needs Envoy to know its own cluster; gRPC the balancer and success rates (gRFC A50).

use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, ZoneAwareLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::UInt64Value;
use mesh::{Balancer, Ejection, ServicePolicy};

use super::super::client::Shape;
use super::parts;

/// Enough points that keys are spread within some percent; Envoy's and gRPC's default.
const RING_SIZE: u64 = 1024;

/// Says in `cluster` how endpoints are picked and ejected.
pub(super) fn spread(shape: Shape, policy: Option<&ServicePolicy>, cluster: &mut Cluster) {
    let balancer = policy.map(|policy| policy.balancer).unwrap_or_default();
    let lb_policy = match balancer {
        Balancer::RingHash => LbPolicy::RingHash,
        Balancer::RoundRobin => LbPolicy::RoundRobin,
        // gRPC refuses any but round robin and rings here.
        Balancer::PeakEwma | Balancer::LeastRequest if shape == Shape::Grpc => LbPolicy::RoundRobin,
        Balancer::PeakEwma | Balancer::LeastRequest => LbPolicy::LeastRequest,
    };
    cluster.lb_policy = lb_policy.into();
    let Some(policy) = policy else { return };
    cluster.lb_config = lb_config(lb_policy, policy);
    cluster.common_lb_config = policy.zones.map(|zones| CommonLbConfig {
        locality_config_specifier: Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled: Some(percent(100)),
            min_cluster_size: Some(UInt64Value { value: zones.min_endpoints.into() }),
            ..ZoneAwareLbConfig::default()
        })),
        ..CommonLbConfig::default()
    });
    cluster.outlier_detection = policy.ejection.as_ref().map(outlier_detection);
}

fn percent(value: u32) -> Percent {
    Percent { value: value.into() }
}

fn lb_config(lb_policy: LbPolicy, policy: &ServicePolicy) -> Option<LbConfig> {
    let slow_start = policy.slow_start.map(|slow_start| SlowStartConfig {
        slow_start_window: Some(parts::duration(slow_start.window)),
        min_weight_percent: Some(percent(slow_start.min_percent)),
        ..SlowStartConfig::default()
    });
    match lb_policy {
        LbPolicy::RingHash => Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
            minimum_ring_size: Some(UInt64Value { value: RING_SIZE }),
            ..RingHashLbConfig::default()
        })),
        LbPolicy::RoundRobin => slow_start.map(|slow_start| {
            LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(slow_start) })
        }),
        _ => slow_start.map(|slow_start| {
            LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                slow_start_config: Some(slow_start),
                ..LeastRequestLbConfig::default()
            })
        }),
    }
}

/// Whatever is not asked for is switched off in words: Envoy's defaults eject by both.
fn outlier_detection(policy: &Ejection) -> OutlierDetection {
    let enforced = |is_on: bool| Some(parts::number(if is_on { 100 } else { 0 }));
    let rate = policy.success_rate;
    OutlierDetection {
        consecutive_5xx: policy.consecutive_failures.map(parts::number),
        enforcing_consecutive_5xx: enforced(policy.consecutive_failures.is_some()),
        enforcing_success_rate: enforced(rate.is_some()),
        success_rate_request_volume: rate.map(|rate| parts::number(rate.min_requests)),
        success_rate_minimum_hosts: rate.map(|rate| parts::number(rate.min_endpoints)),
        success_rate_stdev_factor: rate.map(|rate| parts::number(rate.stdev_factor)),
        interval: Some(parts::duration(policy.interval)),
        base_ejection_time: Some(parts::duration(policy.base_time)),
        max_ejection_time: Some(parts::duration(policy.max_time)),
        max_ejection_percent: Some(parts::number(policy.max_percent)),
        ..OutlierDetection::default()
    }
}
