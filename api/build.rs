//! Compiles the .proto files without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 11] = [
        "proto/penstock/v1/mesh.proto",
        "proto/penstock/v1/registration.proto",
        "proto/penstock/v1/config.proto",
        "proto/penstock/v1/query.proto",
        "proto/penstock/v1/members.proto",
        "proto/penstock/v1/report.proto",
        "proto/penstock/v1/backup.proto",
        "proto/penstock/peer/v1/peer.proto",
        "proto/penstock/log/v1/command.proto",
        "proto/penstock/log/v1/snapshot.proto",
        "proto/opentelemetry/trace_service.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // Raft frames and commands are passed on without a copy.
    tonic_prost_build::configure().bytes(".penstock.peer.v1").compile_fds(descriptors)?;
    Ok(())
}
