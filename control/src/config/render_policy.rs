//! What is stored of policies, as the YAML it was applied as, and the parts that routes have in common with them.

use mesh::{GrpcCode, PolicyTarget, Retry, RetryBudget, TrafficPolicy};

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
        PolicyTarget::Route(route) => ("gateway.networking.k8s.io", "HTTPRoute", route.name.as_str()),
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
