//! What is wrong is told all at once: file, line, column, field, and what is expected.

use crate::{checked, told};

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web, port: 80}]
  rules:
";

#[test]
fn a_file_with_many_faults_is_told_all_of_them_with_their_places() {
    let text = "apiVersion: v1
kind: Service
metadata:
  name: Web
  nmaespace: shop
spec:
  selector: {app: web}
  ports:
    - port: 80
      appProtocol: htpp
    - name: admin
      port: 70000
      nodePort: 30000
    - name: admin
      port: '81'
      protocol: UDP
  clusterIP: 127.0.0.1
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs:
    - {kind: Gateway, name: edge}
  rules:
    - matches:
        - path: {type: Regex, value: web}
          method: get
          headers:
            - {name: X-A, value: 1}
            - {name: x y, value: a}
      backendRefs:
        - {name: web, port: 80, weight: 2000000}
        - {name: web}
      filters: []
      timeouts: {request: 10 seconds}
      backendrefs: []
";
    let expected = [
        "a.yaml:4:9 metadata.name: \"Web\" must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'",
        "a.yaml:5:3 metadata.nmaespace: is not a field here: did you mean `namespace`?",
        "a.yaml:9:7 spec.ports[0].name: is missing: each port has a name where a Service has several",
        "a.yaml:10:20 spec.ports[0].appProtocol: \"htpp\" must be http, http2, kubernetes.io/h2c, grpc or tcp",
        "a.yaml:12:13 spec.ports[1].port: \"70000\" must be a whole number from 1 to 65535",
        "a.yaml:13:7 spec.ports[1].nodePort: is not supported yet: Penstock opens no port on nodes; leave it out",
        "a.yaml:14:13 spec.ports[2].name: \"admin\" is there twice, first at spec.ports[1].name",
        "a.yaml:15:13 spec.ports[2].port: \"81\" must be a whole number from 1 to 65535, without quotes",
        "a.yaml:16:17 spec.ports[2].protocol: \"UDP\" is not supported: only TCP is carried; write TCP or leave it out",
        "a.yaml:17:14 spec.clusterIP: \"127.0.0.1\" must be None, or an IP address that is no host's own",
        "a.yaml:19:13 apiVersion: \"gateway.networking.k8s.io/v1beta1\" must be gateway.networking.k8s.io/v1 for kind HTTPRoute",
        "a.yaml:24:14 spec.parentRefs[0].kind: \"Gateway\" is not supported: a parent is a Service",
        "a.yaml:27:24 spec.rules[0].matches[0].path.type: \"Regex\" must be Exact, PathPrefix or RegularExpression",
        "a.yaml:27:38 spec.rules[0].matches[0].path.value: \"web\" must begin with '/'",
        "a.yaml:28:19 spec.rules[0].matches[0].method: \"get\" must be one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
        "a.yaml:30:34 spec.rules[0].matches[0].headers[0].value: must be text: put 1 in quotes",
        "a.yaml:31:22 spec.rules[0].matches[0].headers[1].name: \"x y\" must be a header's name: letters, digits and !#$%&'*+-.^_`|~",
        "a.yaml:33:41 spec.rules[0].backendRefs[0].weight: \"2000000\" must be a whole number from 0 to 1000000",
        "a.yaml:34:11 spec.rules[0].backendRefs[1].port: is missing: the Service's port, 1 to 65535",
        "a.yaml:36:27 spec.rules[0].timeouts.request: \"10 seconds\" must be a duration: numbers of at most 5 digits with h, m, s or ms, for instance 1m30s or 500ms",
        "a.yaml:37:7 spec.rules[0].backendrefs: is not a field here: did you mean `backendRefs`?",
    ];
    let told = told(&[text]);
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn malformed_yaml_names_line_and_column_and_the_other_file_is_read_all_the_same() {
    let told = told(&["kind: [1, 2\nfoo: bar\n", "apiVersion: v1\nkind: Pod\n"]);
    assert!(told[0].starts_with("a.yaml:2:"), "{told:?}");
    assert!(told[0].contains("not valid YAML"), "{told:?}");
    let expected = "b.yaml:2:7 kind: \"Pod\" is not a kind that Penstock takes: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy";
    assert_eq!(told[1], expected);
}

#[test]
fn kinds_and_versions_are_held_to_the_letter_and_near_ones_suggested() {
    for (text, expected) in [
        (
            "kind: HttpRoute\n",
            "kind: \"HttpRoute\" is not a kind that Penstock takes: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy; did you mean HTTPRoute?",
        ),
        (
            "kind: Servcie\n",
            "kind: \"Servcie\" is not a kind that Penstock takes: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy; did you mean Service?",
        ),
        ("metadata: {}\n", "kind: is missing: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy"),
        ("- a\n", ": must be a mapping, is a list"),
        ("", ": holds no document: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy"),
        ("# nothing\n---\n", ": holds no document: expected Service, HTTPRoute, GRPCRoute or TrafficPolicy"),
    ] {
        let told = told(&[text]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(expected), "{told:?}");
    }
}

#[test]
fn a_document_that_lacks_its_parts_is_told_each_of_them() {
    let told = told(&["kind: Service\n---\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {}\n"]);
    let expected = [
        "a.yaml:1:1 apiVersion: is missing: write v1 for kind Service",
        "a.yaml:1:1 metadata: is missing: every document has `metadata` with a `name`",
        "a.yaml:1:1 spec: is missing: a Service has a `spec` with `ports`",
        "a.yaml:3:1 apiVersion: is missing: write gateway.networking.k8s.io/v1 for kind HTTPRoute",
        "a.yaml:5:7 spec.parentRefs: is missing: an HTTPRoute names at least one Service whose requests it rules",
        "a.yaml:5:7 spec.rules: is missing: an HTTPRoute has at least one rule",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_document_is_there_twice_only_if_kind_and_namespace_are_the_same_too() {
    let service = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    };
    let (here, there) = (service("default"), service("shop"));
    assert!(checked(&[&here, &there]).is_ok());
    let told = told(&[&here, &format!("{there}---\n{here}")]);
    assert_eq!(
        told,
        ["b.yaml:8:18 metadata.name: Service default/web is there twice, first at a.yaml line 3"]
    );
}

#[test]
fn what_a_route_may_not_say_yet_is_refused_in_words() {
    for (rules, expected) in [
        (
            "    - backendRefs: [{kind: Bucket, name: a, port: 80}]\n",
            "spec.rules[0].backendRefs[0].kind: \"Bucket\" is not supported: a backend is a Service; leave it out",
        ),
        (
            "    - matches: [{queryParams: [{name: a, value: b}, {name: a, value: c}]}]\n",
            "spec.rules[0].matches[0].queryParams[1].name: \"a\" is there twice in one match",
        ),
        (
            "    - matches: [{headers: [{name: a, type: RegularExpression, value: '[--a]'}]}]\n",
            "a.yaml:7:70 spec.rules[0].matches[0].headers[0].value: \"[--a]\" must not hold -- within a class: write \\-",
        ),
        (
            "    - matches: [{queryParams: [{name: a, type: RegularExpression, value: '(?x)a b'}]}]\n",
            "a.yaml:7:74 spec.rules[0].matches[0].queryParams[0].value: \"(?x)a b\" must use no flags but RE2's: i, m, s, U",
        ),
        (
            "    - matches: [{path: {type: RegularExpression, value: \"/a\\u0009\"}}]\n",
            "a.yaml:7:57 spec.rules[0].matches[0].path.value: \"/a\\t\" must not hold control characters",
        ),
        (
            "    - matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}]\n",
            "spec.rules[0].matches[0].headers[1].name: \"A\" is there twice in one match",
        ),
        (
            "    - timeouts: {request: 25h, backendRequest: 1s}\n",
            "spec.rules[0].timeouts.request: \"25h\" must be at most a day (24h)",
        ),
    ] {
        let told = told(&[&format!("{ROUTE}{rules}")]);
        assert!(told.iter().any(|told| told.ends_with(expected)), "{told:?}");
    }
    let text = ROUTE.replace("name: web, port: 80", "name: web, namespace: other") + "    - {}\n";
    let expected = "spec.parentRefs[0].namespace: \"other\" is not supported yet: a route rules Services of its own namespace (shop) only";
    assert!(told(&[&text])[0].ends_with(expected), "{:?}", told(&[&text]));
}

#[test]
fn a_good_document_becomes_a_command_with_the_documents_in_the_order_of_its_actions() {
    let route = format!(
        "{ROUTE}    - backendRefs: [{{name: web-v2, port: 8080}}]\n      timeouts: {{request: 0s}}\n"
    );
    let service = "apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}, resourceVersion: '7'}
spec:
  type: ClusterIP
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, protocol: TCP, appProtocol: kubernetes.io/h2c}]
status: {loadBalancer: {}}
";
    let checked = checked(&[&route, service]).unwrap();
    let documents: Vec<_> =
        checked.documents.iter().map(|document| (document.kind.as_str(), document.file.as_str())).collect();
    assert_eq!(documents, [("Service", "b.yaml"), ("HTTPRoute", "a.yaml")]);
    let service = mesh::Service::try_from(&checked.command.services[0]).unwrap();
    assert_eq!(
        (service.name.to_string().as_str(), service.ports[0].protocol),
        ("web.default", mesh::Protocol::Http2)
    );
    let route = mesh::Route::try_from(&checked.command.routes[0]).unwrap();
    assert_eq!(route.parents, [("web.shop".parse().unwrap(), Some(80))]);
    let backend = &route.rules[0].backends[0];
    assert_eq!(
        (backend.authority.to_string().as_str(), backend.weight),
        ("web-v2.shop.svc.cluster.local:8080", 1)
    );
    assert_eq!(route.rules[0].request_timeout, None);
}

#[test]
fn one_fault_is_told_once_and_the_merge_key_of_older_yaml_in_words() {
    for (rules, expected) in [
        (
            "    - filters: [{type: 5}]\n",
            "a.yaml:7:24 spec.rules[0].filters[0].type: must be text: put 5 in quotes",
        ),
        (
            "    - filters: [{type: URLRewrite, urlRewrite: 7}]\n",
            "a.yaml:7:48 spec.rules[0].filters[0].urlRewrite: must be a mapping, is text",
        ),
        (
            "    - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [1]}}]\n",
            "a.yaml:7:80 spec.rules[0].filters[0].requestHeaderModifier.remove[0]: must be text: put 1 in quotes",
        ),
        (
            "    - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: 1}]}}]\n",
            "a.yaml:7:94 spec.rules[0].filters[0].requestHeaderModifier.set[0].value: must be text: put 1 in quotes",
        ),
        (
            "    - filters: [{type: RequestRedirect, requestRedirect: {scheme: http, statusCode: 304}}]\n",
            "a.yaml:7:85 spec.rules[0].filters[0].requestRedirect.statusCode: 304 must be 301, 302, 303, 307 or 308",
        ),
        (
            "    - &a {}\n    - <<: *a\n",
            "a.yaml:8:7 spec.rules[1].<<: YAML's merge key is not taken: write the fields out",
        ),
    ] {
        assert_eq!(told(&[&format!("{ROUTE}{rules}")]), [expected]);
    }
}

const ON_WEB: &str = "targetRefs: [{kind: Service, name: web}]";

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: penstock.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_retry_or_a_policy_without_meaning_is_told_with_its_place() {
    let route = |rest: &str| format!("{ROUTE}    - {rest}\n");
    let on_web = ON_WEB;
    for (text, expected) in [
        (
            route("retry: {codes: [200]}"),
            "spec.rules[0].retry.codes[0]: must be an HTTP status from 400 to 599",
        ),
        (route("retry: {grpcCodes: [unavailable]}"), "spec.rules[0].retry.grpcCodes: is not a field here"),
        (
            route("retry: {attempts: 11}"),
            "spec.rules[0].retry.attempts: \"11\" must be a whole number from 1 to 10",
        ),
        (route("retry: {backoff: 2h}"), "spec.rules[0].retry.backoff: \"2h\" must be 1ms to 1m"),
        (
            route("timeouts: {request: 1s, backendRequest: 2s}"),
            "spec.rules[0].timeouts.backendRequest: must not be longer than `request`, which bounds all tries",
        ),
        (policy(""), "spec.targetRefs: is missing: a TrafficPolicy names at least one Service or route"),
        (
            policy("targetRefs: [{kind: Gateway, name: a}]"),
            "spec.targetRefs[0].kind: \"Gateway\" must be Service, HTTPRoute or GRPCRoute",
        ),
        (
            policy("targetRefs: [{kind: HTTPRoute, group: '', name: a}]"),
            "spec.targetRefs[0].group: \"\" must be \"gateway.networking.k8s.io\" for kind HTTPRoute",
        ),
        (
            policy("targetRefs: [{kind: Service, name: web}, {kind: Service, name: web}]"),
            "spec.targetRefs[1]: names the same target as one before it",
        ),
        (
            policy(&format!("{on_web}, retry: {{grpcCodes: [ok]}}")),
            "spec.retry.grpcCodes[0]: \"ok\" must be one of cancelled, deadline-exceeded, resource-exhausted, internal, unavailable",
        ),
        (
            policy(&format!("{on_web}, retryConstraint: {{budget: {{percent: 101}}}}")),
            "spec.retryConstraint.budget.percent: \"101\" must be a whole number from 0 to 100",
        ),
        (
            policy("targetRefs: [{kind: HTTPRoute, name: r}], retryConstraint: {}"),
            "spec.retryConstraint: concerns endpoints, and a route has none of its own: target the Service",
        ),
        (
            policy(&format!("{on_web}, timeouts: {{request: 1s}}")),
            "spec.timeouts.request: is not supported yet: it stands in a route's `timeouts`; a TrafficPolicy has connect and streamIdle",
        ),
    ] {
        let told = told(&[&text]);
        assert!(told.iter().any(|told| told.ends_with(expected)), "{told:?}");
    }
}

#[test]
fn a_balancer_or_an_ejection_without_meaning_is_told_with_its_place() {
    let on_web = ON_WEB;
    for (text, expected) in [
        (
            policy(&format!("{on_web}, balancer: {{type: Random}}")),
            "spec.balancer.type: \"Random\" must be one of PeakEwma, LeastRequest, RoundRobin, RingHash",
        ),
        (
            policy(&format!("{on_web}, balancer: {{type: RingHash}}")),
            "spec.balancer.type: must be RingHash with `hashOn`, or another balancer without it",
        ),
        (
            policy(&format!("{on_web}, balancer: {{type: RingHash, hashOn: {{}}}}")),
            "spec.balancer.hashOn.header: must be there, or `cookie`, and not both",
        ),
        (
            policy(&format!("{on_web}, ejection: {{maxPercent: 0}}")),
            "spec.ejection.maxPercent: \"0\" must be a whole number from 1 to 100",
        ),
        (
            policy(&format!("{on_web}, ejection: {{baseTime: 1m, maxTime: 1s}}")),
            "spec.ejection.maxTime: must not be shorter than `baseTime`",
        ),
        (
            policy("targetRefs: [{kind: HTTPRoute, name: r}], ejection: {}"),
            "spec.ejection: concerns endpoints, and a route has none of its own: target the Service",
        ),
    ] {
        let told = told(&[&text]);
        assert!(told.iter().any(|told| told.ends_with(expected)), "{told:?}");
    }
}

#[test]
fn a_filter_a_fault_or_a_limit_without_meaning_is_told_with_its_place() {
    let filter = |filter: &str| format!("{ROUTE}    - filters: [{filter}]\n");
    for (text, expected) in [
        (
            filter("{type: Cors}"),
            "spec.rules[0].filters[0].type: \"Cors\" must be one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite",
        ),
        (
            filter("{type: URLRewrite}"),
            "spec.rules[0].filters[0].urlRewrite: is missing: what a URLRewrite does",
        ),
        (
            filter("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}"),
            "spec.rules[0].filters[0].requestHeaderModifier.set[0].name: \"Host\" is the proxy's own, which no filter changes",
        ),
        (
            filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /a}}}"),
            "spec.rules[0].filters[0].urlRewrite.path.type: must be ReplaceFullPath with `replaceFullPath`, or ReplacePrefixMatch with `replacePrefixMatch`",
        ),
        (
            filter("{type: RequestRedirect, requestRedirect: {statusCode: 304}}"),
            "spec.rules[0].filters[0].requestRedirect.statusCode: 304 must be 301, 302, 303, 307 or 308",
        ),
        (
            filter(
                "{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a}}",
            ),
            "spec.rules[0].filters: must not hold a RequestRedirect and a URLRewrite: the one or the other",
        ),
        (
            filter(
                "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 3, denominator: 2}}}",
            ),
            "spec.rules[0].filters[0].requestMirror.fraction.numerator: must not exceed the denominator",
        ),
        (
            policy(&format!("{ON_WEB}, fault: {{}}")),
            "spec.fault.delay: is missing: a fault has a `delay`, an `abort` or both",
        ),
        (
            policy(&format!("{ON_WEB}, fault: {{abort: {{percent: 5}}}}")),
            "spec.fault.abort.httpStatus: is missing: how they are answered: `httpStatus` or `grpcStatus`, one of them",
        ),
        (
            policy(&format!("{ON_WEB}, circuitBreaker: {{maxPendingRequests: 1}}")),
            "spec.circuitBreaker.maxPendingRequests: needs `maxConnections`: without a bound on connections no request waits for one",
        ),
        (
            policy(&format!("{ON_WEB}, rateLimit: {{interval: 1s}}")),
            "spec.rateLimit.requests: is missing: how many may be sent within `interval`",
        ),
    ] {
        let told = told(&[&text]);
        assert!(told.iter().any(|told| told.ends_with(expected)), "{told:?}");
    }
}
