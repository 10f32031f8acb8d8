//! What is wrong with a `sessionPersistence` is told with its place, and what neither Envoy nor our proxy could keep is refused.

use crate::told;

#[test]
fn a_session_that_nobody_could_keep_is_told_with_its_place() {
    let permanent = "must be there with `cookieConfig.lifetimeType: Permanent`, and not without it: only a cookie that lives so long \
                     ends with it";
    for (session, field, expected) in [
        ("type: Address", "type", "\"Address\" must be Cookie or Header"),
        (
            "sessionName: a b",
            "sessionName",
            "\"a b\" must be a header's name: letters, digits and !#$%&'*+-.^_`|~",
        ),
        (
            "type: Header, sessionName: Host",
            "sessionName",
            "\"host\" is the proxy's own, which no filter changes",
        ),
        ("absoluteTimeout: 1h", "absoluteTimeout", permanent),
        ("cookieConfig: {lifetimeType: Permanent}", "absoluteTimeout", permanent),
        ("absoluteTimeout: 1ms", "absoluteTimeout", "\"1ms\" must be 1s to 8760h"),
        (
            "cookieConfig: {lifetimeType: Ever}",
            "cookieConfig.lifetimeType",
            "\"Ever\" must be Session or Permanent",
        ),
        ("type: Header, cookieConfig: {}", "cookieConfig", "goes with type Cookie"),
        (
            "idleTimeout: 1m",
            "idleTimeout",
            "is not supported yet: nothing ends a session for want of requests, neither here nor in Envoy",
        ),
    ] {
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{kind: Service, name: web}}]
  rules: [{{sessionPersistence: {{{session}}}}}]
"
        );
        let told = told(&[&text]);
        assert_eq!(told.len(), 1, "{session}: {told:?}");
        let expected = format!("spec.rules[0].sessionPersistence.{field}: {expected}");
        assert!(told[0].starts_with("a.yaml:6:") && told[0].ends_with(&expected), "{}", told[0]);
    }
}
