//! `penstock check`: gathers facts from every named control node, and shows what `health` makes of them.

use std::time::Duration;

use api::v1::MembersRequest;
use api::v1::query_client::QueryClient;
use tokio::time::{Instant, sleep};

use super::health::{Facts, Sighting, judge};
use super::telling::{ink, now_ms};
use super::{preflight, proxies, services};
use crate::answer::{Answer, Exit, Failure};
use crate::args::CheckArgs;
use crate::connection::Connection;
use crate::render::{self, Finding, Verdict};

/// Pause between two rounds of `--wait`.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(args: CheckArgs) -> Result<Answer, Failure> {
    if args.pre {
        return Ok(answer(&preflight::findings(args.data.as_deref()), &args));
    }
    let deadline = args.wait.map(|wait| Instant::now() + wait.0);
    loop {
        let mut connection = Connection::new(&args.connection)?;
        let facts = gather(&mut connection).await;
        let answer = answer(&judge(&facts), &args);
        if answer.exit == Exit::Fine || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            let anyone = facts.nodes.iter().any(|(_, seen)| seen.is_ok());
            return Ok(if anyone { answer } else { Answer { exit: Exit::Unreachable, ..answer } });
        }
        sleep(ROUND_PAUSE).await;
    }
}

fn answer(findings: &[Finding], args: &CheckArgs) -> Answer {
    let text = render::findings(findings, args.output, ink());
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Answer { exit: if failed { Exit::Failed } else { Exit::Fine }, ..Answer::fine(text) }
}

/// Asks every named node for what it sees, and one for the rest.
async fn gather(connection: &mut Connection) -> Facts {
    let addresses: Vec<String> = connection.addresses().map(str::to_owned).collect();
    let mut nodes = Vec::new();
    for (index, address) in addresses.into_iter().enumerate() {
        let asked_ms = now_ms();
        let call = |channel| async move { QueryClient::new(channel).members(MembersRequest {}).await };
        let seen = connection.ask_one(index, call).await;
        let sighting = seen.map(|members| Sighting { members, asked_ms, answered_ms: now_ms() });
        nodes.push((address, sighting));
    }
    let unknown = || "no control node answered".to_owned();
    if nodes.iter().all(|(_, seen)| seen.is_err()) {
        return Facts { nodes, services: Err(unknown()), proxies: Err(unknown()) };
    }
    let services = services::ask(connection, api::v1::ServicesRequest::default())
        .await
        .map_err(|failure| failure.to_string());
    let proxies = proxies::ask(connection).await.map_err(|failure| failure.to_string());
    Facts { nodes, services, proxies }
}
