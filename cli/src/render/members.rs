//! The answer of `members`.

use api::v1;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::units::bytes;
use super::{Ink, json};
use crate::args::{ChangeForm, Form};

/// The answer of `members`.
#[must_use]
pub fn members(response: &v1::MembersResponse, form: Form, ink: Ink) -> String {
    if form == Form::Json {
        return json(&MembersView {
            cluster: &response.cluster,
            answered_by: response.answered_by,
            commands: response.commands,
            members: response.members.iter().map(MemberView::of).collect(),
        });
    }
    let mut columns = vec![Column::left("NODE"), Column::left("ROLE")];
    columns.extend(["TERM", "COMMIT", "APPLIED", "LAG"].map(Column::right));
    columns.push(Column::left("ADDRESS"));
    if form == Form::Wide {
        columns.extend(["SEAT", "PEER_ADDRESS", "VERSION"].map(Column::left));
        columns.extend(["COMMANDS", "LOGGED", "SNAPSHOT", "CAMPAIGNS", "FREE"].map(Column::right));
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
            cells.extend(
                [&member.seat, &member.peer_address, &member.version].map(|text| or_dash(text).into()),
            );
            let free =
                if member.disk_free_bytes == 0 { "-".to_owned() } else { bytes(member.disk_free_bytes) };
            cells.extend(
                [member.commands.into(), member.last_index, member.snapshot_index, member.campaigns]
                    .map(|value| figure(value).into()),
            );
            cells.push(free.into());
        }
        table.row(cells);
    }
    table.text(ink)
}

/// The answer of a change of the members.
#[must_use]
pub fn members_changed(changed: &v1::MembersChanged, form: ChangeForm) -> String {
    match form {
        ChangeForm::Text => format!("{}\n", changed.message),
        ChangeForm::Json => {
            let v1::MembersChanged { message, voters, learners } = changed;
            json(&ChangedView { message, voters, learners })
        }
    }
}

#[derive(Serialize)]
struct ChangedView<'a> {
    message: &'a str,
    voters: &'a [u64],
    learners: &'a [u64],
}

fn role(member: &v1::MemberRow) -> Cell {
    match member.role.as_str() {
        _ if !member.reachable => Cell::bad("unreachable"),
        "leader" => Cell::good("leader"),
        "candidate" | "waiting" => Cell::warning(member.role.clone()),
        "removed" => Cell::bad("removed"),
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
    commands: u32,
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
    seat: &'a str,
    commands: u32,
    last_index: u64,
    snapshot_index: u64,
    campaigns: u64,
    disk_free_bytes: u64,
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
            seat: &member.seat,
            commands: member.commands,
            last_index: member.last_index,
            snapshot_index: member.snapshot_index,
            campaigns: member.campaigns,
            disk_free_bytes: member.disk_free_bytes,
        }
    }
}
