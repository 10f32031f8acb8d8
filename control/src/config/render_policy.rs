//! What is stored of policies, as the YAML it was applied as, and the parts that routes have in common with them.

use mesh::{
    Abort, Balancer, Ejection, Fault, GrpcCode, HashKey, PolicyTarget, Retry, RetryBudget, ServicePolicy,
    Session, SessionToken, TrafficPolicy,
};

use super::balancing::BALANCERS;
use super::check::Kind;
use super::duration::rendered;
use super::lines::{Lines, head, quoted};

/// A policy as the `TrafficPolicy` that declares it.
#[must_use]
pub fn policy_yaml(policy: &TrafficPolicy) -> String {
    let mut lines = Lines::default();
    head(&mut lines, Kind::TrafficPolicy, &policy.name.name, &policy.name.namespace);
    lines.under("spec", |lines| {
        lines.list("targetRefs", &policy.targets, target_lines);
        if let Some(retry) = &policy.requests.retry {
            retry_lines(lines, retry);
        }
        if let Some(budget) = &policy.service.retry_budget {
            constraint_lines(lines, budget);
        }
        if let Some(fault) = &policy.requests.fault {
            fault_lines(lines, fault);
        }
        if let Some(session) = &policy.requests.session {
            session_lines(lines, session);
        }
        balancing_lines(lines, policy);
        if let Some(ejection) = &policy.service.ejection {
            ejection_lines(lines, ejection);
        }
        limit_lines(lines, &policy.service);
        let timeouts =
            [("connect", policy.service.connect_timeout), ("streamIdle", policy.requests.stream_idle)];
        if timeouts.iter().any(|(_, timeout)| timeout.is_some()) {
            lines.under("timeouts", |lines| {
                for (key, timeout) in timeouts {
                    if let Some(timeout) = timeout {
                        lines.line(&format!("{key}: {}", rendered(timeout)));
                    }
                }
            });
        }
    });
    lines.text
}

fn target_lines(lines: &mut Lines, target: &PolicyTarget) {
    let (group, kind, name) = match target {
        PolicyTarget::Service(service) => ("\"\"", "Service", service.name()),
        PolicyTarget::Route(route) => ("gateway.networking.k8s.io", route.kind.as_str(), route.name.as_str()),
    };
    lines.line(&format!("group: {group}"));
    lines.line(&format!("kind: {kind}"));
    lines.line(&format!("name: {}", quoted(name)));
}

/// The `retry` of a rule or a policy.
pub(super) fn retry_lines(lines: &mut Lines, retry: &Retry) {
    lines.under("retry", |lines| {
        let codes: Vec<String> = retry.codes.iter().map(u16::to_string).collect();
        let grpc_codes: Vec<String> =
            retry.grpc_codes.iter().copied().map(GrpcCode::as_str).map(str::to_owned).collect();
        for (key, codes) in [("codes", codes), ("grpcCodes", grpc_codes)] {
            if !codes.is_empty() {
                lines.line(&format!("{key}: [{}]", codes.join(", ")));
            }
        }
        lines.line(&format!("attempts: {}", retry.attempts));
        lines.line(&format!("backoff: {}", rendered(retry.backoff)));
    });
}

/// The `sessionPersistence` of a rule or a policy.
pub(super) fn session_lines(lines: &mut Lines, session: &Session) {
    lines.under("sessionPersistence", |lines| {
        lines.line(&format!("sessionName: {}", quoted(&session.name)));
        match session.token {
            SessionToken::Header => lines.line("type: Header"),
            SessionToken::Cookie(None) => lines.line("type: Cookie"),
            SessionToken::Cookie(Some(lives)) => {
                lines.line("type: Cookie");
                lines.line(&format!("absoluteTimeout: {}", rendered(lives)));
                lines.under("cookieConfig", |lines| lines.line("lifetimeType: Permanent"));
            }
        }
    });
}

fn fault_lines(lines: &mut Lines, fault: &Fault) {
    lines.under("fault", |lines| {
        if let Some((percent, delay)) = fault.delay {
            lines.under("delay", |lines| {
                lines.line(&format!("percent: {percent}"));
                lines.line(&format!("duration: {}", rendered(delay)));
            });
        }
        if let Some((percent, abort)) = fault.abort {
            lines.under("abort", |lines| {
                lines.line(&format!("percent: {percent}"));
                lines.line(&match abort {
                    Abort::Http(status) => format!("httpStatus: {status}"),
                    Abort::Grpc(status) => format!("grpcStatus: {status}"),
                });
            });
        }
    });
}

fn balancing_lines(lines: &mut Lines, policy: &TrafficPolicy) {
    let service = &policy.service;
    if service.balancer != Balancer::default() {
        let name =
            BALANCERS.iter().find(|(_, balancer)| *balancer == service.balancer).map(|(name, _)| *name);
        lines.under("balancer", |lines| {
            lines.line(&format!("type: {}", name.unwrap_or_default()));
            match &policy.requests.hash {
                Some(HashKey::Header(name)) => {
                    lines.under("hashOn", |lines| lines.line(&format!("header: {}", quoted(name))));
                }
                Some(HashKey::Cookie { name, ttl }) => lines.under("hashOn", |lines| {
                    lines.under("cookie", |lines| {
                        lines.line(&format!("name: {}", quoted(name)));
                        if let Some(ttl) = ttl {
                            lines.line(&format!("ttl: {}", rendered(*ttl)));
                        }
                    });
                }),
                None => {}
            }
        });
    }
    if let Some(slow_start) = service.slow_start {
        lines.under("slowStart", |lines| {
            lines.line(&format!("window: {}", rendered(slow_start.window)));
            lines.line(&format!("minPercent: {}", slow_start.min_percent));
        });
    }
    if let Some(zones) = service.zones {
        lines.under("zonePreference", |lines| lines.line(&format!("minEndpoints: {}", zones.min_endpoints)));
    }
}

fn limit_lines(lines: &mut Lines, service: &ServicePolicy) {
    if let Some(breaker) = service.breaker {
        let bounds = [
            ("maxConnections", breaker.max_connections),
            ("maxPendingRequests", breaker.max_pending),
            ("maxRequests", breaker.max_requests),
        ];
        match bounds.iter().any(|(_, bound)| bound.is_some()) {
            true => lines.under("circuitBreaker", |lines| {
                for (key, bound) in bounds {
                    if let Some(bound) = bound {
                        lines.line(&format!("{key}: {bound}"));
                    }
                }
            }),
            false => lines.line("circuitBreaker: {}"),
        }
    }
    if let Some(limit) = service.rate_limit {
        lines.under("rateLimit", |lines| {
            lines.line(&format!("requests: {}", limit.requests));
            lines.line(&format!("interval: {}", rendered(limit.interval)));
            lines.line(&format!("burst: {}", limit.burst));
        });
    }
}

fn ejection_lines(lines: &mut Lines, ejection: &Ejection) {
    lines.under("ejection", |lines| {
        lines.line(&format!("consecutiveFailures: {}", ejection.consecutive_failures.unwrap_or(0)));
        if let Some(rate) = &ejection.success_rate {
            lines.under("successRate", |lines| {
                lines.line(&format!("minRequests: {}", rate.min_requests));
                lines.line(&format!("minEndpoints: {}", rate.min_endpoints));
                lines.line(&format!("stdevFactor: {}", rate.stdev_factor));
            });
        }
        lines.line(&format!("interval: {}", rendered(ejection.interval)));
        lines.line(&format!("baseTime: {}", rendered(ejection.base_time)));
        lines.line(&format!("maxTime: {}", rendered(ejection.max_time)));
        lines.line(&format!("maxPercent: {}", ejection.max_percent));
        lines.line(&format!("minReady: {}", ejection.min_ready));
    });
}

fn constraint_lines(lines: &mut Lines, budget: &RetryBudget) {
    lines.under("retryConstraint", |lines| {
        lines.under("budget", |lines| {
            lines.line(&format!("percent: {}", budget.percent));
            lines.line(&format!("interval: {}", rendered(budget.window)));
        });
        lines.under("minRetryRate", |lines| {
            lines.line(&format!("count: {}", budget.min_retries));
            lines.line(&format!("interval: {}", rendered(budget.min_window)));
        });
    });
}
