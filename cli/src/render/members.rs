//! The answer of `members`.

use api::v1;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::{Ink, json};
use crate::args::Form;

/// The answer of `members`.
#[must_use]
pub fn members(response: &v1::MembersResponse, form: Form, ink: Ink) -> String {
    if form == Form::Json {
        return json(&MembersView {
            cluster: &response.cluster,
            answered_by: response.answered_by,
            members: response.members.iter().map(MemberView::of).collect(),
        });
    }
    let mut columns = vec![Column::left("NODE"), Column::left("ROLE")];
    columns.extend(["TERM", "COMMIT", "APPLIED", "LAG"].map(Column::right));
    columns.push(Column::left("ADDRESS"));
    if form == Form::Wide {
        columns.extend([Column::left("PEER_ADDRESS"), Column::left("VERSION")]);
    }
    let mut table = Table::new(columns);
    for member in &response.members {
        let figure = |value: u64| if member.reachable { value.to_string() } else { "-".to_owned() };
        let mut cells = vec![
            member.node.to_string().into(),
            role(member),
            figure(member.term).into(),
            figure(member.commit).into(),
            figure(member.applied).into(),
            figure(member.lag).into(),
            or_dash(&member.client_address).into(),
        ];
        if form == Form::Wide {
            cells.extend([or_dash(&member.peer_address).into(), or_dash(&member.version).into()]);
        }
        table.row(cells);
    }
    table.text(ink)
}

fn role(member: &v1::MemberRow) -> Cell {
    match member.role.as_str() {
        _ if !member.reachable => Cell::bad("unreachable"),
        "leader" => Cell::good("leader"),
        "candidate" => Cell::warning("candidate"),
        other => other.into(),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[derive(Serialize)]
struct MembersView<'a> {
    cluster: &'a str,
    answered_by: u64,
    members: Vec<MemberView<'a>>,
}

#[derive(Serialize)]
struct MemberView<'a> {
    node: u64,
    role: &'a str,
    reachable: bool,
    term: u64,
    commit: u64,
    applied: u64,
    lag: u64,
    client_address: &'a str,
    peer_address: &'a str,
    version: &'a str,
}

impl<'a> MemberView<'a> {
    fn of(member: &'a v1::MemberRow) -> Self {
        Self {
            node: member.node,
            role: if member.reachable { &member.role } else { "unreachable" },
            reachable: member.reachable,
            term: member.term,
            commit: member.commit,
            applied: member.applied,
            lag: member.lag,
            client_address: &member.client_address,
            peer_address: &member.peer_address,
            version: &member.version,
        }
    }
}
