//! What is wrong with a `GRPCRoute` is told as of any document; it is no `HTTPRoute` of the same name.

use crate::{checked, told};

fn route(rule: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: web, namespace: shop}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: web, port: 80}}]
  rules:
    - {rule}
"
    )
}

#[test]
fn what_a_call_cannot_be_is_told_with_its_place() {
    for (rule, expected) in [
        (
            "matches: [{method: {service: shop/Carts}}]",
            "a.yaml:7:36 spec.rules[0].matches[0].method.service: \"shop/Carts\" must be a service of gRPC: letters, digits and '_' with dots between them, at most 1024",
        ),
        (
            "matches: [{method: {service: Carts, method: a.b}}]",
            "a.yaml:7:51 spec.rules[0].matches[0].method.method: \"a.b\" must be a method of gRPC: letters, digits and '_', at most 1024, no digit first",
        ),
        (
            "matches: [{method: {}}]",
            "a.yaml:7:26 spec.rules[0].matches[0].method.service: is missing: the service with its package, or a `method`, or both",
        ),
        (
            "matches: [{method: {type: RegularExpression, service: 'a{'}}]",
            "a.yaml:7:61 spec.rules[0].matches[0].method.service: \"a{\" is no regular expression of RE2: REASON",
        ),
        (
            &format!(
                "matches: [{{method: {{type: RegularExpression, service: '{0}', method: '{0}'}}}}]",
                "a".repeat(600)
            ),
            "a.yaml:7:26 spec.rules[0].matches[0].method.method: with its service must be 1 to 1024 bytes",
        ),
        ("matches: [{path: {value: /a}}]", "a.yaml:7:18 spec.rules[0].matches[0].path: is not a field here"),
        (
            "filters: [{type: URLRewrite}]",
            "a.yaml:7:24 spec.rules[0].filters[0].type: \"URLRewrite\" must be one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror",
        ),
        (
            "retry: {codes: [503]}",
            "a.yaml:7:15 spec.rules[0].retry.codes: is not supported yet: a call has no HTTP status; name gRPC's in `grpcCodes`",
        ),
    ] {
        let told = told(&[&route(rule)]);
        // The reason is the library's.
        let expected = expected.trim_end_matches("REASON");
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    }
    let missing =
        told(&["apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}\nspec: {}\n"]);
    let expected = [
        "a.yaml:4:7 spec.parentRefs: is missing: a GRPCRoute names at least one Service whose requests it rules",
        "a.yaml:4:7 spec.rules: is missing: a GRPCRoute has at least one rule",
    ];
    assert_eq!(missing, expected);
}

#[test]
fn routes_of_both_kinds_may_have_one_name_and_two_of_one_kind_may_not() {
    let (grpc, http) = (route("{}"), route("{}").replace("GRPCRoute", "HTTPRoute"));
    assert_eq!(checked(&[&grpc, &http]).unwrap().documents.len(), 2);
    let twice = told(&[&grpc, &grpc]);
    assert_eq!(
        twice,
        ["b.yaml:3:18 metadata.name: GRPCRoute shop/web is there twice, first at a.yaml line 3"]
    );
}
