//! Says, in the output of `cargo test --workspace`, what that command leaves out: it needs nothing but Rust, and these
//! tests need other programs or root. Each is gone when its feature brings the tests themselves.

#[cfg(not(feature = "peers"))]
#[test]
#[ignore = "left out: needs a real Envoy, a real gRPC client, curl, nginx and Node; `bash .ci/run tools peers` installs them and runs these tests"]
fn real_clients_follow_the_discovery_api() {
    panic!("built without the feature `peers`: run `bash .ci/run tools peers`");
}

#[cfg(not(feature = "netns"))]
#[test]
#[ignore = "left out: needs root, network namespaces, nftables, curl, PostgreSQL and Redis; `bash .ci/run tools netns` installs them and runs these tests"]
fn real_programs_are_intercepted() {
    panic!("built without the feature `netns`: run `bash .ci/run tools netns`");
}

#[cfg(not(feature = "mounts"))]
#[test]
#[ignore = "left out: mounts a small disk, as root or in a user namespace; `bash .ci/run mounts` runs it"]
fn a_real_disk_that_fills_up_refuses_writes_and_heals() {
    panic!("built without the feature `mounts`: run `bash .ci/run mounts`");
}
