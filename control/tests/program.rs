//! The program `penstock-control`: what an image starts, with settings from the environment and from a file.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use api::v1::MembersRequest;
use api::v1::query_client::QueryClient;
use rustix::process::{Pid, Signal, kill_process};

/// A process that ends with the test, and its folder.
struct Program {
    child: Child,
    folder: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-control"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PENSTOCK_") {
            command.env_remove(variable);
        }
    }
    command
}

#[test]
fn a_node_alone_takes_environment_over_file_serves_and_ends_well_when_asked_to() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("program-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("control.yaml");
    let [client, peer, http] = runtime::ports::addresses(3).unwrap().try_into().unwrap();
    let text = format!(
        "node: 7\npeers: [7={peer}]\nclient_address: {client}\npeer_address: {peer}\nhttp_address: 127.0.0.1:1\ndata_directory: {}\n",
        folder.join("data").display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = command();
    command.arg(&file).env("PENSTOCK_HTTP_ADDRESS", http.to_string());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut program = Program { child, folder };
    let mut log = BufReader::new(program.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let started = log.find(|line| line.contains("control node started")).expect("it starts");
    assert!(started.contains(&format!("http_address={http}")), "{started}");
    let reader = std::thread::spawn(move || log.count()); // a full pipe would hold the node up
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let members = runtime.block_on(async {
        let mut client = QueryClient::connect(format!("http://{client}")).await.unwrap();
        client.members(MembersRequest {}).await.unwrap().into_inner().members
    });
    assert_eq!(members.iter().map(|row| row.node).collect::<Vec<_>>(), [7]);
    drop(runtime); // with its connection, which the node would wait for
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    assert!(program.child.wait().unwrap().success());
    reader.join().unwrap();
}

#[test]
fn settings_that_make_no_sense_are_all_told_and_end_it_with_the_code_of_wrong_usage() {
    let mut command = command();
    command.env("PENSTOCK_NODE", "many").env("PENSTOCK_CLIENT_ADDRESS", "nowhere");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("many") && said.contains("nowhere"), "{said}");
}
